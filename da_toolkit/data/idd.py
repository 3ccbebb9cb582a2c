"""India Driving Dataset (Varma et al., WACV 2019): label ids of a level of its hierarchy, or Cityscapes' train ids."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import IDD_IDS, RawClasses, class_names
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.label_setting import Labels, space_of
from da_toolkit.data.labels import LabelSpace
from da_toolkit.data.listing import images_in, paired, unlabelled
from da_toolkit.errors import unknown_name
from da_toolkit.registry import DOMAINS

IMAGE_PART = "_leftImg8bit"


@DOMAINS.register(family="real", paper="Varma et al., WACV 2019 (arXiv 1811.10200)")
@dataclass(frozen=True)
class IDD(Domain):
    """IDD: `leftImg8bit/<split>/` and `gtFine/<split>/*_gtFine_label<ids>.png`, drawn by AutoNUE's tool."""

    size: tuple[int, int] = (720, 1280)
    labels: Labels = ""
    """Classes to train and score, as of every domain; by default cityscapes19, and of levels 1 and 2, which have few of
    these, the level's own."""
    ids: str = "level3Ids"
    """Which label files are read: level4Ids, level3Ids, level2Ids, level1Ids (30, 26, 16, 7 classes) or csTrainIds."""
    folder: ClassVar[str] = "IDD_Segmentation"

    def __post_init__(self) -> None:
        if self.ids not in IDD_IDS:
            raise unknown_name("IDD `ids`", self.ids, IDD_IDS)
        super().__post_init__()

    @property
    def _encoding(self) -> RawClasses:
        return IDD_IDS[self.ids]

    @property
    def class_names(self) -> tuple[str, ...]:
        return class_names(self._encoding)

    @property
    def label_space(self) -> LabelSpace:
        if self.labels:
            return space_of(self.labels)
        coarse = self.ids in ("level1Ids", "level2Ids")
        return LabelSpace(f"idd{len(self.class_names)}", self.class_names) if coarse else space_of("cityscapes19")

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        if split not in ("train", "val", "test"):
            raise unknown_name("split of IDD", split, ("train", "val", "test"))
        root, name = self.locate(data_root), f"IDD {split}"
        folder, ending = root / "leftImg8bit" / split, f"_gtFine_label{self.ids}"
        images = images_in(folder, name, IMAGE_PART)

        def label_names(stem: str) -> list[list[str]]:
            return [[stem.partition(IMAGE_PART)[0] + ending]]

        if split == "test":
            found = unlabelled(images, folder)
        else:
            found = paired(
                images, folder, root / "gtFine" / split, name, label_names, needed=split == "val", part=ending
            )
        ids, space = self._encoding, self.label_space
        return FileDomainData("IDD", split, found.pairs, ids, space, unlabelled=found.unlabelled)
