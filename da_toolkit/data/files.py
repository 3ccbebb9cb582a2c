"""Domains on disk: pairs of files, read when asked for, ids remapped by one look-up table."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from da_toolkit.data.domain import DomainData
from da_toolkit.data.encodings import RawClasses, lookup_table
from da_toolkit.data.labels import LabelSpace
from da_toolkit.errors import UserError

T = TypeVar("T")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Pair:
    """One image and its label file, where the split has labels."""

    key: str
    image: Path
    label: Path | None


def read_image(path: Path) -> np.ndarray:
    """uint8 RGB [H,W,3]. Raises `UserError` for a missing, truncated or foreign file."""
    return _read(path, lambda picture: np.asarray(picture.convert("RGB")))


def read_ids(path: Path) -> np.ndarray:
    """Raw ids [H,W] of a single-channel or palette PNG: the palette's *index*, never its colour.

    Raises:
        UserError: an unreadable file, or one with several channels (a colour-coded label).
    """
    ids = _read(path, np.asarray)
    if ids.ndim != 2:
        raise UserError(
            f"The label {path} has {ids.shape[2]} channels where one channel of class ids is expected: it looks "
            "colour-coded. Use the data set's id files, not its coloured ones."
        )
    return ids


def _read(path: Path, convert: Callable[[Image.Image], T]) -> T:
    try:
        with Image.open(path) as picture:
            return convert(picture)
    except FileNotFoundError as error:
        raise UserError(f"The file {path} does not exist any more. Restore it or remove its pair.") from error
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(
            f"The file {path} cannot be read as an image ({error}): it is truncated or damaged. Copy it again from the "
            "data set, or remove it with its pair; `python -m da_toolkit.prepare check RECIPE` lists all such files."
        ) from error


def _as_it_is(key: str, ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return ids


class FileDomainData(DomainData):
    """Pairs of files.

    Args:
        name: the domain's settings class, for messages.
        split: "train", "val" or "test".
        pairs: what to read.
        classes: meaning of every raw id.
        space: label space of the result.
        read_label: file -> raw ids [H,W].
        fit_label: changes the size of a label that is known to differ from its image, given the key, ids and
            the image's (height, width); the default changes nothing.
    """

    def __init__(
        self,
        name: str,
        split: str,
        pairs: Sequence[Pair],
        classes: RawClasses,
        space: LabelSpace,
        read_label: Callable[[Path], np.ndarray] = read_ids,
        fit_label: Callable[[str, np.ndarray, tuple[int, int]], np.ndarray] = _as_it_is,
    ) -> None:
        super().__init__(name, split, space, has_labels=bool(pairs) and pairs[0].label is not None)
        self.pairs = pairs
        self.table, self.known = lookup_table(classes, space, size=65536)
        self.read_label, self.fit_label = read_label, fit_label

    def __len__(self) -> int:
        return len(self.pairs)

    def key(self, index: int) -> str:
        return self.pairs[index].key

    def files(self, index: int, labels: bool) -> tuple[Path, ...]:
        pair = self.pairs[index]
        return (pair.image, pair.label) if labels and pair.label is not None else (pair.image,)

    def image(self, index: int) -> np.ndarray:
        return read_image(self.pairs[index].image)

    def raw_ids(self, index: int) -> np.ndarray:
        """The label file's ids [H,W] before remapping. Raises `UserError` if the split has no labels."""
        path = self.pairs[index].label
        if path is None:
            raise UserError(
                f"{self.name} {self.split}: the image {self.pairs[index].image} has no label file. "
                "Put the annotations beside it, or use a split that has them."
            )
        return self.read_label(path)

    def label(self, index: int) -> np.ndarray:
        ids = self.raw_ids(index)
        pair = self.pairs[index]
        if ids.max(initial=0) >= len(self.table) or ids.min(initial=0) < 0 or not self.known[ids].all():
            values = np.unique(ids)
            strange = [int(v) for v in values if not 0 <= v < len(self.table) or not self.known[v]]
            valid = ", ".join(map(str, np.flatnonzero(self.known)))
            raise UserError(
                f"The label {pair.label} holds id {', '.join(map(str, strange[:8]))}, which {self.name} does not "
                f"define (ids: {valid}). Is it the id file, not a coloured or train-id one? Set the domain's `root` "
                "to the right files, or use `Folder` with a label table of your own."
            )
        size = _read(pair.image, lambda picture: (picture.height, picture.width))  # reads the header only
        ids = self.fit_label(pair.key, ids, size)
        if ids.shape != size:
            raise UserError(
                f"The label {pair.label} is {ids.shape[1]}x{ids.shape[0]} pixels but its image {pair.image} is "
                f"{size[1]}x{size[0]}. Replace one of them, or remove the pair."
            )
        return self.table[ids]


def images_in(folder: Path, setting: str, pattern: str = "*") -> list[Path]:
    """Sorted image files of a folder. Raises `UserError` if it is missing or holds none."""
    if not folder.is_dir():
        raise UserError(f"{setting}: the folder {folder} does not exist. Set the domain's `root` or --data-root to it.")
    found = sorted(f for f in folder.glob(pattern) if f.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        what = "images" if pattern == "*" else f"{pattern} images"
        raise UserError(f"{setting}: the folder {folder} holds no {what} (.png, .jpg). Put the data set's there.")
    return found


def paired(
    images: Iterable[Path], label_of: Callable[[Path], Path], key: Callable[[Path], str], setting: str
) -> list[Pair]:
    """Pairs by name. Raises `UserError` that lists the first images whose label is missing."""
    pairs = [Pair(key(image), image, label_of(image)) for image in images]
    missing = [pair for pair in pairs if pair.label is not None and not pair.label.is_file()]
    if missing:
        names = ", ".join(str(pair.label) for pair in missing[:3])
        raise UserError(
            f"{setting}: {len(missing)} of {len(pairs)} images have no label; missing: {names}"
            f"{', ...' if len(missing) > 3 else ''}. Restore those files or remove their images."
        )
    return pairs
