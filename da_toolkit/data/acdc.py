"""ACDC (Sakaridis et al., ICCV 2021) and Dark Zurich (ICCV 2019): one laboratory, one way to name files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import CITYSCAPES_IDS, RawClasses
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.listing import Pairs, first_folder, images_in, paired, together, unlabelled
from da_toolkit.errors import unknown_name
from da_toolkit.registry import DOMAINS
from da_toolkit.settings.choices import check_choices

IMAGE_PART, LABEL_END = "_rgb_anon", "_gt_labelIds"
CONDITIONS = ("fog", "night", "rain", "snow")
TIMES = ("day", "twilight", "night")


@DOMAINS.register(family="real", paper="Sakaridis et al., ICCV 2021 (arXiv 2104.13395)")
@dataclass(frozen=True)
class ACDC(Domain):
    """ACDC: `rgb_anon/<condition>/<split>/` and `gt/<condition>/<split>/*_gt_labelIds.png`."""

    size: tuple[int, int] = (540, 960)
    conditions: tuple[str, ...] = CONDITIONS
    """Which of fog, night, rain and snow are used."""
    folder: ClassVar[str] = "ACDC"
    encoding: ClassVar[RawClasses] = CITYSCAPES_IDS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices("ACDC: `conditions`", self.conditions, CONDITIONS)

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        places = [f"{condition}/{split}" for condition in self.conditions]
        return _opened(self, split, places, data_root)


@DOMAINS.register(family="real", paper="Sakaridis et al., ICCV 2019 (arXiv 1901.05946)")
@dataclass(frozen=True)
class DarkZurich(Domain):
    """Dark Zurich: `rgb_anon/<split>/<time>/`; train has no labels, and val is 50 nights in `gt/val/night/`."""

    size: tuple[int, int] = (540, 960)
    times: tuple[str, ...] = ("night",)
    """Which of day, twilight and night are trained on; val and test have nights alone."""
    folder: ClassVar[str] = "dark_zurich"
    encoding: ClassVar[RawClasses] = CITYSCAPES_IDS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices("DarkZurich: `times`", self.times, TIMES)

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        times = self.times if split == "train" else ("night",)
        return _opened(self, split, [f"{split}/{time}" for time in times], data_root)


def _opened(domain: Domain, split: str, places: Sequence[str], data_root: Path | None) -> FileDomainData:
    """The frames of several folders, each with its own folder of labels."""
    kind = type(domain).__name__
    if split not in ("train", "val", "test"):
        raise unknown_name(f"split of {kind}", split, ("train", "val", "test"))
    root = domain.locate(data_root)
    frames = first_folder(root, "rgb_anon", "rgb_anon_trainvaltest/rgb_anon")
    truth = first_folder(root, "gt", "gt_trainval/gt")

    def key(image: Path) -> str:
        return image.relative_to(frames).with_suffix("").as_posix().removesuffix(IMAGE_PART)

    def of(place: str) -> Pairs:
        name, folder = f"{kind} {place}", frames / place
        images = images_in(folder, name, IMAGE_PART)
        if split == "test":
            return unlabelled(images, frames, key)
        return paired(images, folder, truth / place, name, _label_names, split == "val", key, part=LABEL_END)

    found = together([of(place) for place in places])
    return FileDomainData(kind, split, found.pairs, CITYSCAPES_IDS, domain.label_space, unlabelled=found.unlabelled)


def _label_names(stem: str) -> list[list[str]]:
    return [[stem.removesuffix(IMAGE_PART) + LABEL_END]]
