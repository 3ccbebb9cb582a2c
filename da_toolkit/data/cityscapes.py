"""Cityscapes (Cordts et al., CVPR 2016): `leftImg8bit` images and `gtFine` label ids, by city."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import CITYSCAPES_IDS, RawClasses
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.listing import images_in, paired, unlabelled
from da_toolkit.errors import unknown_name
from da_toolkit.registry import DOMAINS

IMAGE_PART, LABEL_END = "_leftImg8bit", "_gtFine_labelIds"


@DOMAINS.register(family="real", paper="Cordts et al., CVPR 2016 (arXiv 1604.01685)")
@dataclass(frozen=True)
class Cityscapes(Domain):
    """Cityscapes train, val and test. Without `gtFine`, and in test, images stand alone."""

    size: tuple[int, int] = (512, 1024)
    folder: ClassVar[str] = "cityscapes"
    encoding: ClassVar[RawClasses] = CITYSCAPES_IDS

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        if split not in ("train", "val", "test"):
            raise unknown_name("split of Cityscapes", split, ("train", "val", "test"))
        root = self.locate(data_root)
        name, folder = f"Cityscapes {split}", root / "leftImg8bit" / split
        images = images_in(folder, name, IMAGE_PART)
        if split == "test":
            found = unlabelled(images, folder, _key)
        else:
            labels = root / "gtFine" / split
            found = paired(images, folder, labels, name, _label_names, split == "val", _key, part=LABEL_END)
        ids, space = CITYSCAPES_IDS, self.label_space
        return FileDomainData("Cityscapes", split, found.pairs, ids, space, unlabelled=found.unlabelled)


def _key(image: Path) -> str:
    """City and numbers; of other weather, what the name says of it too."""
    frame, _, weather = image.stem.partition(IMAGE_PART)
    return frame + weather


def _label_names(stem: str) -> list[list[str]]:
    return [[stem.partition(IMAGE_PART)[0] + LABEL_END]]
