"""Cityscapes as small JPEG frames with train-id labels: `<split>/images` and `<split>/labels`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import TRAIN_IDS, RawClasses
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.label_setting import Labels
from da_toolkit.data.listing import images_in, paired
from da_toolkit.errors import unknown_name
from da_toolkit.registry import DOMAINS


@DOMAINS.register(family="real", paper="Cordts et al., CVPR 2016 (arXiv 1604.01685)")
@dataclass(frozen=True)
class CityscapesSmall(Domain):
    """Cityscapes brought to 256x128, with labels in train ids. Scores on it are not comparable with published ones.

    The labels were decoded from published colour JPEGs: class borders carry an ignored rim, and thin things are partly
    lost.
    """

    size: tuple[int, int] = (128, 256)
    labels: Labels = "streets11"
    folder: ClassVar[str] = "cityscapes_256x128"
    encoding: ClassVar[RawClasses] = TRAIN_IDS

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        if split not in ("train", "val", "test"):
            raise unknown_name("split of CityscapesSmall", split, ("train", "val", "test"))
        root, name = self.locate(data_root) / split, f"CityscapesSmall {split}"
        images = images_in(root / "images", name)
        found = paired(images, root / "images", root / "labels", name, needed=split == "val")
        ids, space = TRAIN_IDS, self.label_space
        return FileDomainData("CityscapesSmall", split, found.pairs, ids, space, unlabelled=found.unlabelled)
