"""BDD100K (Yu et al., CVPR 2020), semantic segmentation of its 10K images: masks hold Cityscapes' train ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import TRAIN_IDS, RawClasses
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.listing import first_folder, images_in, own_names, paired, unlabelled
from da_toolkit.errors import unknown_name
from da_toolkit.registry import DOMAINS


@DOMAINS.register(family="real", paper="Yu et al., CVPR 2020 (arXiv 1805.04687)")
@dataclass(frozen=True)
class BDD100K(Domain):
    """BDD100K: `images/10k/<split>/` and `labels/sem_seg/masks/<split>/`, or both below `seg/` as first published."""

    size: tuple[int, int] = (720, 1280)
    folder: ClassVar[str] = "bdd100k"
    encoding: ClassVar[RawClasses] = TRAIN_IDS

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        if split not in ("train", "val", "test"):
            raise unknown_name("split of BDD100K", split, ("train", "val", "test"))
        root, name = self.locate(data_root), f"BDD100K {split}"
        folder = first_folder(root, f"images/10k/{split}", f"seg/images/{split}")
        images = images_in(folder, name)
        if split == "test":
            found = unlabelled(images, folder)
        else:
            labels = first_folder(root, f"labels/sem_seg/masks/{split}", f"seg/labels/{split}")
            found = paired(images, folder, labels, name, _label_names, needed=split == "val")
        ids, space = TRAIN_IDS, self.label_space
        return FileDomainData("BDD100K", split, found.pairs, ids, space, unlabelled=found.unlabelled)


def _label_names(stem: str) -> Sequence[Sequence[str]]:
    return [[stem], [f"{stem}_train_id"], *own_names(stem)]
