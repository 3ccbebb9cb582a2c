"""Cityscapes (Cordts et al., CVPR 2016): `leftImg8bit` images and `gtFine` label ids, by city."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import CITYSCAPES_IDS, RawClasses
from da_toolkit.data.files import FileDomainData, Pair, images_in, paired
from da_toolkit.errors import unknown_name
from da_toolkit.registry import DOMAINS

IMAGE_END, LABEL_END = "_leftImg8bit.png", "_gtFine_labelIds.png"


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
        images = images_in(root / "leftImg8bit" / split, "Cityscapes", f"*/*{IMAGE_END}")
        labels = root / "gtFine" / split

        def key(image: Path) -> str:
            return image.name.removesuffix(IMAGE_END)

        if split == "test" or not labels.is_dir():
            pairs = [Pair(key(image), image, None) for image in images]
        else:
            pairs = paired(
                images, lambda f: labels / f.parent.name / f"{key(f)}{LABEL_END}", key, f"Cityscapes {split}"
            )
        return FileDomainData("Cityscapes", split, pairs, CITYSCAPES_IDS, self.label_space)
