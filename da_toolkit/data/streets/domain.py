"""The street world as a domain: rendered once, then read from a cache on disk."""

import errno
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from da_toolkit.data.domain import Domain, DomainData
from da_toolkit.data.labels import CITYSCAPES19, LabelSpace
from da_toolkit.data.streets.looks import look
from da_toolkit.data.streets.scene import WORLD_VERSION, render
from da_toolkit.errors import UserError, unknown_name
from da_toolkit.files import cache_folder, write_shared
from da_toolkit.notices import Notice
from da_toolkit.registry import DOMAINS
from da_toolkit.terminal import track


class StreetsData(DomainData):
    """Rendered frames: uint8 [N,H,W,4], the image and its Cityscapes train ids in the fourth channel."""

    def __init__(self, name: str, split: str, space: LabelSpace, frames: np.ndarray) -> None:
        super().__init__(name, split, space, has_labels=True)
        self.frames = frames
        self.table = space.table_from(CITYSCAPES19)

    def __len__(self) -> int:
        return len(self.frames)

    def key(self, index: int) -> str:
        return f"{self.name.lower()}_{self.split}_{index:05d}"

    def image(self, index: int) -> np.ndarray:
        return np.ascontiguousarray(self.frames[index, ..., :3])

    def label(self, index: int) -> np.ndarray:
        return self.table[self.frames[index, ..., 3]]


@DOMAINS.register(family="embedded")
@dataclass(frozen=True)
class Streets(Domain):
    """The embedded street world: 19 Cityscapes classes in two looks, "game" and "camera"; no download."""

    size: tuple[int, int] = (128, 256)
    look: str = "game"
    """"game" (clean and saturated) or "camera" (hazy, noisy, other colours and crowds)."""
    frames: int = 400
    """Training frames."""
    val_frames: int = 100
    """Validation frames."""
    render_size: tuple[int, int] = (128, 256)
    """Height and width at which frames are rendered and scored."""
    seed: int = 0
    """Another seed gives another city."""
    folder: ClassVar[str] = "streets"

    def __post_init__(self) -> None:
        super().__post_init__()
        look(self.look)
        if self.frames < 1 or self.val_frames < 1 or min(self.render_size) < 32:
            raise UserError(
                "Streets: `frames` and `val_frames` are at least 1, `render_size` at least 32 pixels a side."
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        return CITYSCAPES19.classes

    def build(self, split: str, data_root: Path | None = None) -> StreetsData:
        if split not in ("train", "val"):
            raise unknown_name("split of Streets", split, ("train", "val"))
        count = self.frames if split == "train" else self.val_frames
        height, width = self.render_size
        name = f"{self.look}_{split}_{count}_{height}x{width}_seed{self.seed}.npy"
        file = cache_folder(f"streets-v{WORLD_VERSION}") / name
        return StreetsData(f"Streets-{self.look}", split, self.label_space, self._frames(file, split, count))

    def _frames(self, file: Path, split: str, count: int) -> np.ndarray:
        shape = (count, *self.render_size, 4)
        if file.is_file():
            try:
                frames = np.load(file, mmap_mode="r")
                if frames.shape == shape and frames.dtype == np.uint8:
                    return frames
            except (OSError, ValueError):
                pass
            warnings.warn(f"the cached frames {file} are damaged and are rendered again", category=Notice, stacklevel=2)
        frames = np.empty(shape, dtype=np.uint8)
        for index in track(range(count), f"rendering streets ({self.look}, {split})"):
            frames[index, ..., :3], frames[index, ..., 3] = render(self.look, split, index, self.render_size, self.seed)
        self._store(file, frames)
        return frames

    @staticmethod
    def _store(file: Path, frames: np.ndarray) -> None:
        try:
            write_shared(file, lambda opened: np.save(opened, frames))
        except OSError as error:
            reason = "no space is left" if error.errno == errno.ENOSPC else str(error)
            raise UserError(
                f"Streets: the rendered frames could not be cached in {file.parent}: {reason}. "
                "Free space there, or set the environment variable DA_TOOLKIT_CACHE to another folder."
            ) from error
