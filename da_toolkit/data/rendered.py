"""Rendered data sets that are one folder of images and one of ids: UrbanSyn and Synscapes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import CITYSCAPES_IDS, URBANSYN_IDS, RawClasses
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.listing import images_in, own_names, paired
from da_toolkit.errors import UserError
from da_toolkit.registry import DOMAINS


@dataclass(frozen=True)
class _Rendered(Domain):
    images: ClassVar[str]
    """Folder of the images."""
    truth: ClassVar[str]
    """Folder of the ids."""
    starts: ClassVar[tuple[str, str]] = ("", "")
    """What an image's and its label's names begin with, before the number that they share."""

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        kind = type(self).__name__
        if split != "train":
            raise UserError(f"{kind} is a source: it has the split 'train' only, not {split!r}.")
        root, (image, label) = self.locate(data_root), self.starts
        folder = root / self.images

        def label_names(stem: str) -> Sequence[Sequence[str]]:
            return [[label + stem.removeprefix(image)], *own_names(stem)]

        found = paired(images_in(folder, kind, image), folder, root / self.truth, kind, label_names)
        space = self.label_space
        return FileDomainData(kind, split, found.pairs, self.encoding, space, unlabelled=found.unlabelled)


@DOMAINS.register(family="synthetic", paper="Gómez et al., 2023 (arXiv 2312.12176)")
@dataclass(frozen=True)
class UrbanSyn(_Rendered):
    """UrbanSyn: `rgb/rgb_%04d.png` and `ss/ss_%04d.png` with Cityscapes' train ids; every frame trains."""

    size: tuple[int, int] = (512, 1024)
    folder: ClassVar[str] = "UrbanSyn"
    images: ClassVar[str] = "rgb"
    truth: ClassVar[str] = "ss"
    starts: ClassVar[tuple[str, str]] = ("rgb_", "ss_")
    encoding: ClassVar[RawClasses] = URBANSYN_IDS


@DOMAINS.register(family="synthetic", paper="Wrenninge and Unger, 2018 (arXiv 1810.08705)")
@dataclass(frozen=True)
class Synscapes(_Rendered):
    """Synscapes: `img/rgb/%d.png` and `img/class/%d.png` with Cityscapes' label ids; every frame trains."""

    size: tuple[int, int] = (720, 1440)
    folder: ClassVar[str] = "Synscapes"
    images: ClassVar[str] = "img/rgb"
    truth: ClassVar[str] = "img/class"
    encoding: ClassVar[RawClasses] = CITYSCAPES_IDS
