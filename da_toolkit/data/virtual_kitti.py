"""Virtual KITTI 2 (Cabon et al., 2020): classes as colours, in scenes that are rendered under ten conditions."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import RawClasses
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.listing import Pairs, first_folder, images_in, paired, together
from da_toolkit.data.pixels import read_label_colors
from da_toolkit.errors import UserError
from da_toolkit.registry import DOMAINS
from da_toolkit.settings.choices import check_choices

COLORS: dict[tuple[int, int, int], str | None] = {
    (210, 0, 200): "terrain",
    (90, 200, 255): "sky",
    (0, 199, 0): "vegetation",  # trees
    (90, 240, 0): "vegetation",
    (140, 140, 140): "building",
    (100, 60, 100): "road",
    (250, 100, 255): "guard rail",
    (255, 255, 0): "traffic sign",
    (200, 200, 0): "traffic light",
    (255, 130, 0): "pole",
    (80, 80, 80): None,  # miscellaneous
    (160, 60, 60): "truck",
    (255, 127, 80): "car",
    (0, 139, 139): "car",  # vans, which Cityscapes counts as cars
    (0, 0, 0): None,  # undefined
}
"""Colours of `colors.txt`, alike in all scenes -> class in Cityscapes' names. An id here is a colour's place."""
SCENES = ("Scene01", "Scene02", "Scene06", "Scene18", "Scene20")
CONDITIONS = (
    *("clone", "fog", "morning", "overcast", "rain", "sunset"),
    *("15-deg-left", "15-deg-right", "30-deg-left", "30-deg-right"),
)
CAMERAS = ("Camera_0", "Camera_1")


def read_color_ids(path: Path) -> np.ndarray:
    """uint8 [H,W]: the place of each pixel's colour in `COLORS`. Raises `UserError` for a colour that means nothing."""
    red, green, blue = np.moveaxis(read_label_colors(path).astype(np.int64), 2, 0)
    codes = red << 16 | green << 8 | blue
    known = np.array([(r << 16) + (g << 8) + b for r, g, b in COLORS])
    order = np.argsort(known)
    places = order[np.searchsorted(known, codes, sorter=order).clip(max=len(known) - 1)]
    if (wrong := np.unique(codes[known[places] != codes])).size:
        shown = ", ".join(str((code >> 16, code >> 8 & 255, code & 255)) for code in wrong[:4].tolist())
        raise UserError(
            f"The label {path} holds {wrong.size} colours that mean nothing in VirtualKITTI2, such as {shown}. Is it "
            "of classSegmentation, as published, and not of instanceSegmentation or resized with blending?"
        )
    return places.astype(np.uint8)


@DOMAINS.register(family="synthetic", paper="Cabon et al., 2020 (arXiv 2001.10773)")
@dataclass(frozen=True)
class VirtualKITTI2(Domain):
    """Virtual KITTI 2: `<scene>/<condition>/frames/{rgb,classSegmentation}/<camera>/`; all are training frames."""

    size: tuple[int, int] = (375, 1242)
    scenes: tuple[str, ...] = SCENES
    """Which of the five scenes are used."""
    conditions: tuple[str, ...] = ("clone",)
    """Which conditions are used: clone (KITTI's own), fog, morning, overcast, rain, sunset, 15-deg-left, ..."""
    cameras: tuple[str, ...] = ("Camera_0",)
    """Camera_0 (left), Camera_1 or both."""
    folder: ClassVar[str] = "vkitti2"
    encoding: ClassVar[RawClasses] = dict(enumerate(COLORS.values()))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices("VirtualKITTI2: `scenes`", self.scenes, SCENES)
        check_choices("VirtualKITTI2: `conditions`", self.conditions, CONDITIONS)
        check_choices("VirtualKITTI2: `cameras`", self.cameras, CAMERAS)

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        if split != "train":
            raise UserError(f"VirtualKITTI2 is a source: it has the split 'train' only, not {split!r}.")
        root = self.locate(data_root)
        found = together(
            _frames(root, f"{scene}/{condition}/frames", camera)
            for scene in self.scenes
            for condition in self.conditions
            for camera in self.cameras
        )
        return FileDomainData(
            *("VirtualKITTI2", split, found.pairs, self.encoding, self.label_space, read_color_ids),
            unlabelled=found.unlabelled,
        )


def _frames(root: Path, place: str, camera: str) -> Pairs:
    folder = first_folder(root, f"{place}/rgb/{camera}", f"vkitti_2.0.3_rgb/{place}/rgb/{camera}")
    truth = f"{place}/classSegmentation/{camera}"
    labels = first_folder(root, truth, f"vkitti_2.0.3_classSegmentation/{truth}")
    name = f"VirtualKITTI2 {place.removesuffix('/frames')} {camera}"

    def key(image: Path) -> str:
        return f"{place.removesuffix('/frames')}/{camera}/{image.stem}"

    def label_names(stem: str) -> list[list[str]]:
        return [[f"classgt_{stem.removeprefix('rgb_')}"]]

    return paired(images_in(folder, name, "rgb_"), folder, labels, name, label_names, key=key)
