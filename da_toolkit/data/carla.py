"""CARLA frames of the Lyft perception challenge."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import CARLA_IDS, RawClasses
from da_toolkit.data.files import FileDomainData, looked_up
from da_toolkit.data.label_setting import Labels
from da_toolkit.data.listing import images_in, paired
from da_toolkit.data.pixels import read_red_ids
from da_toolkit.errors import UserError
from da_toolkit.registry import DOMAINS

BONNET = 0.83
"""Share of the height below which the car's own bonnet fills the frame, labelled vehicle."""
FRAME = (298, 480)
"""Height and width of a frame without it."""


def sky_of(ids: np.ndarray) -> np.ndarray:
    """bool [H,W]: the 4-connected regions of id 0 that touch the top row. Other zeros are no class."""
    _, regions = cv2.connectedComponents((ids == 0).astype(np.uint8), connectivity=4)
    touching = np.unique(regions[0])
    return np.isin(regions, touching[touching > 0])


def kept_rows(height: int, size: tuple[int, int]) -> slice:
    """The rows of a frame above the bonnet; of them the lowest, where `size` (height, width) is a wider picture.

    So a frame of 480x360 brought to 256x128 is its lowest 480x240 above the bonnet, in the shape of Cityscapes.
    """
    bottom = int(BONNET * height)
    share = min(1.0, size[0] / size[1] * FRAME[1] / FRAME[0])
    return slice(bottom - round(share * bottom), bottom)


class CarlaData(FileDomainData):
    """Cuts the bonnet and what is above the shape of `size` away, and finds the sky; otherwise as `FileDomainData`."""

    def __init__(self, size: tuple[int, int], *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.size = size

    def image(self, index: int) -> np.ndarray:
        image = super().image(index)
        return image[kept_rows(len(image), self.size)]

    def label(self, index: int) -> np.ndarray:
        ids = self.checked_ids(index)
        label = looked_up(self.table, ids)
        sky = self.label_space.place("sky")
        if sky is not None:
            above = int(BONNET * len(ids))
            label[:above][sky_of(ids[:above])] = sky
        return label[kept_rows(len(label), self.size)]


@DOMAINS.register(family="synthetic", paper="Dosovitskiy et al., CoRL 2017 (arXiv 1711.03938)")
@dataclass(frozen=True)
class Carla(Domain):
    """CARLA: `CameraRGB/` and `CameraSeg/`, with the sky rule and the bonnet cut away.

    Where `size` is a wider picture than that, the frame's upper rows are cut away too.
    """

    size: tuple[int, int] = FRAME
    labels: Labels = "camvid11"
    folder: ClassVar[str] = "carla"
    encoding: ClassVar[RawClasses] = CARLA_IDS

    @property
    def class_names(self) -> tuple[str, ...]:
        return (*super().class_names, "sky")

    def build(self, split: str, data_root: Path | None = None) -> CarlaData:
        if split != "train":
            raise UserError(f"Carla is a source: it has the split 'train' only, not {split!r}.")
        root = self.locate(data_root)
        images = images_in(root / "CameraRGB", "Carla")
        found = paired(images, root / "CameraRGB", root / "CameraSeg", "Carla")
        ids, space = CARLA_IDS, self.label_space
        how = "Carla", split, found.pairs, ids, space, read_red_ids
        return CarlaData(self.size, *how, unlabelled=found.unlabelled)
