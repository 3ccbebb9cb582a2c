"""GTA5 (Richter et al., ECCV 2016): palette PNG labels whose index is the Cityscapes id."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import CITYSCAPES_IDS, RawClasses
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.listing import images_in, paired
from da_toolkit.data.transforms import resized_label
from da_toolkit.errors import UserError
from da_toolkit.notices import Notice
from da_toolkit.registry import DOMAINS

UNUSABLE = ("15188", "17705")
"""Frames whose published labels are broken."""
RESIZED = range(20801, 20861)
"""Frames among which some published labels differ in size from their image."""


def _may_differ(key: str) -> bool:
    number = key.rpartition("/")[-1]
    return number.isdecimal() and int(number) in RESIZED


def _fit(key: str, ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if ids.shape != size and _may_differ(key):
        return resized_label(ids, size)
    return ids


@DOMAINS.register(family="synthetic", paper="Richter et al., ECCV 2016 (arXiv 1608.02192)")
@dataclass(frozen=True)
class GTA5(Domain):
    """GTA5: `images/%05d.png` and `labels/%05d.png`; every frame is a training frame."""

    size: tuple[int, int] = (720, 1280)
    folder: ClassVar[str] = "GTA5"
    encoding: ClassVar[RawClasses] = CITYSCAPES_IDS

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        if split != "train":
            raise UserError(f"GTA5 is a source: it has the split 'train' only, not {split!r}.")
        root = self.locate(data_root)
        images = images_in(root / "images", "GTA5")
        skipped = [image.name for image in images if image.stem in UNUSABLE]
        if skipped:
            warnings.warn(
                f"GTA5: skipping {', '.join(skipped)}: the published labels are broken", category=Notice, stacklevel=2
            )
        found = paired(images, root / "images", root / "labels", "GTA5")
        pairs = [pair for pair in found.pairs if pair.image.stem not in UNUSABLE]
        affected = sum(_may_differ(pair.key) for pair in pairs)
        if affected:
            warnings.warn(
                f"GTA5: {affected} frames (20801-20860) are known to include labels of another size than their "
                "image; those labels are resized by nearest neighbour",
                category=Notice,
                stacklevel=2,
            )
        return FileDomainData(
            *("GTA5", split, pairs, CITYSCAPES_IDS, self.label_space),
            fit_label=_fit,
            unlabelled=found.unlabelled,
        )
