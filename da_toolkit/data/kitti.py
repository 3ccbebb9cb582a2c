"""KITTI's semantic benchmark (Alhaija et al., IJCV 2018): 200 labelled frames of 2015, with Cityscapes' label ids."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import CITYSCAPES_IDS, RawClasses
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.listing import images_in, paired, unlabelled
from da_toolkit.errors import UserError, unknown_name
from da_toolkit.registry import DOMAINS

FRAME = "_10"
"""Ends the names of the frames that are labelled; the flow benchmark's archives hold those after them too (_11)."""


@DOMAINS.register(family="real", paper="Alhaija et al., IJCV 2018 (arXiv 1708.01566)")
@dataclass(frozen=True)
class KITTI(Domain):
    """KITTI semantics: `training/image_2/` and `training/semantic/`; the last frames are val, `testing/` is test."""

    size: tuple[int, int] = (375, 1242)
    held_out: int = 50
    """How many frames, the last by number, are val instead of train, since KITTI has no val of its own."""
    folder: ClassVar[str] = "kitti"
    encoding: ClassVar[RawClasses] = CITYSCAPES_IDS

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        if split not in ("train", "val", "test"):
            raise unknown_name("split of KITTI", split, ("train", "val", "test"))
        root, name = self.locate(data_root), f"KITTI {split}"
        folder = root / ("testing" if split == "test" else "training") / "image_2"
        images = images_in(folder, name, FRAME)
        if split == "test":
            found = unlabelled(images, folder)
        else:
            found = paired(images, folder, root / "training" / "semantic", name, needed=split == "val")
        pairs = found.pairs
        if split != "test":
            if not 0 < self.held_out < len(pairs):
                raise UserError(
                    f"KITTI: `held_out` is {self.held_out}, and {folder} has {len(pairs)} frames: it must be between 1 "
                    f"and {len(pairs) - 1}, so that train and val both have some."
                )
            pairs = pairs[: -self.held_out] if split == "train" else pairs[-self.held_out :]
        ids, space = CITYSCAPES_IDS, self.label_space
        return FileDomainData("KITTI", split, pairs, ids, space, unlabelled=found.unlabelled)
