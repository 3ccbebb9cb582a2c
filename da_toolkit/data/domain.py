"""The contract of a domain: settings that build images and, where it has them, labels in train ids."""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from da_toolkit.data.encodings import RawClasses, class_names, told
from da_toolkit.data.label_setting import Labels, is_table, space_of
from da_toolkit.data.labels import LabelSpace
from da_toolkit.errors import UserError


class DomainData(ABC):
    """Images of one split of a domain, addressed by index; nothing is read before it is asked for."""

    def __init__(self, name: str, split: str, space: LabelSpace, has_labels: bool, unlabelled: str = "") -> None:
        self.name = name
        self.split = split
        self.label_space = space
        self.has_labels = has_labels
        """Whether every image has a label; one that nobody reads may be missing."""
        self.unlabelled = unlabelled
        """A sentence on the images that have none: how many, what was looked for and what is there; or nothing."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def key(self, index: int) -> str:
        """A name for the image that is unique in the split, such as its file's stem."""

    def files(self, index: int, labels: bool) -> tuple[Path, ...]:
        """The files that the image, and with `labels` its label, are read from; none if they have no own ones."""
        return ()

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """uint8 RGB [H,W,3] at the domain's own resolution. Raises `UserError` naming an unreadable file."""

    @abstractmethod
    def label(self, index: int) -> np.ndarray:
        """uint8 train ids [H,W] at full resolution, 255 = ignore. Raises `UserError` naming the file."""


@dataclass(frozen=True)
class Domain(ABC):
    """Settings of a domain. `size` is the (height, width) at which training images are used."""

    size: tuple[int, int]
    """Training size in pixels: height width."""
    labels: Labels = "cityscapes19"
    """Classes to train and score: a built-in label space (cityscapes19, synthia16, camvid11, streets11, cityscapes7),
    a JSON table such as my/classes.json, or in a recipe a LabelSpace(...)."""
    root: Path | None = None
    """Folder of the data set; by default the domain's own folder under --data-root."""

    folder: ClassVar[str] = ""
    encoding: ClassVar[RawClasses] = {}
    """Meaning of the ids in the data set's files."""

    def __post_init__(self) -> None:
        self._as_path("root")
        if len(self.size) != 2 or min(self.size) < 1:
            raise UserError(f"{type(self).__name__}: size is (height, width) in pixels, got {self.size}.")
        if is_table(self.labels):  # the classes themselves, so that a file edited later changes no run
            object.__setattr__(self, "labels", space_of(self.labels))
        space, names = self.label_space, self.class_names
        if names and not space.reached(names):
            raise UserError(
                f"{type(self).__name__}: it has none of the classes of {space.name} ({', '.join(space.classes)}); its "
                f"own are {told(names)}. Set `labels` to a label space with some of these, or say in the JSON "
                f'table what belongs where: "includes": {{"{names[0]}": "{space.classes[0]}"}}.'
            )

    def _as_path(self, name: str) -> None:
        """Makes a path of a setting that is written as a string, as people write paths."""
        if isinstance(getattr(self, name), str):
            object.__setattr__(self, name, Path(getattr(self, name)))

    def content_digest(self) -> str:
        """Of files that say what the ids mean, so that a run knows when they change; empty where there are none."""
        return ""

    @property
    def label_space(self) -> LabelSpace:
        return space_of(self.labels)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the data set's own classes are called; empty where that is not known."""
        return class_names(self.encoding)

    def in_space(self, space: LabelSpace | str) -> Self:
        """The same domain with its labels in another space."""
        return replace(self, labels=space)

    @abstractmethod
    def build(self, split: str, data_root: Path | None = None) -> DomainData:
        """Open the split "train", "val" or "test". Raises `UserError` for a missing or empty folder."""

    def locate(self, data_root: Path | None) -> Path:
        """`root`, or `data_root / folder`. Raises `UserError` with the remedy if it does not exist."""
        name = type(self).__name__
        if self.root is None and data_root is None:
            raise UserError(
                f"{name}: no data folder is set. Pass --data-root FOLDER (with {self.folder!r} inside) "
                f"or set the domain's `root`; --demo needs no data at all."
            )
        root = self.root if self.root is not None else Path(data_root or "") / self.folder
        if not os.path.isdir(root):
            raise UserError(
                f"{name}: the folder {root} does not exist. Unpack the data set there, "
                f"pass --data-root FOLDER (with {self.folder!r} inside) or set the domain's `root`."
            )
        return root
