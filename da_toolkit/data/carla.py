"""CARLA frames of the Lyft perception challenge, in CamVid's classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import CARLA_IDS
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.labels import CAMVID11
from da_toolkit.data.listing import images_in, paired
from da_toolkit.data.pixels import read_red_ids
from da_toolkit.errors import UserError
from da_toolkit.registry import DOMAINS

BONNET = 0.83
"""Share of the height below which the car's own bonnet fills the frame, labelled vehicle."""


def sky_of(ids: np.ndarray) -> np.ndarray:
    """bool [H,W]: the 4-connected regions of id 0 that touch the top row. Other zeros are no class."""
    _, regions = cv2.connectedComponents((ids == 0).astype(np.uint8), connectivity=4)
    touching = np.unique(regions[0])
    return np.isin(regions, touching[touching > 0])


class CarlaData(FileDomainData):
    """Cuts the bonnet away and finds the sky."""

    def image(self, index: int) -> np.ndarray:
        image = super().image(index)
        return image[: int(BONNET * image.shape[0])]

    def label(self, index: int) -> np.ndarray:
        label = super().label(index)
        ids = self.raw_ids(index)[: int(BONNET * label.shape[0])]
        label = label[: len(ids)].copy()
        if "sky" in self.label_space.classes:
            label[sky_of(ids)] = self.label_space.index("sky")
        return label


@DOMAINS.register(family="synthetic", paper="Dosovitskiy et al., CoRL 2017 (arXiv 1711.03938)")
@dataclass(frozen=True)
class Carla(Domain):
    """CARLA: `CameraRGB/` and `CameraSeg/`, with the sky rule and the bonnet cut away."""

    size: tuple[int, int] = (298, 480)
    labels: str = "camvid11"
    folder: ClassVar[str] = "carla"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_space != CAMVID11:
            raise UserError(f"Carla: its classes are mapped to camvid11 only, got labels={self.labels!r}.")

    def build(self, split: str, data_root: Path | None = None) -> CarlaData:
        if split != "train":
            raise UserError(f"Carla is a source: it has the split 'train' only, not {split!r}.")
        root = self.locate(data_root)
        images = images_in(root / "CameraRGB", "Carla")
        found = paired(images, root / "CameraRGB", root / "CameraSeg", "Carla")
        ids, space = CARLA_IDS, self.label_space
        return CarlaData("Carla", split, found.pairs, ids, space, read_red_ids, unlabelled=found.unlabelled)
