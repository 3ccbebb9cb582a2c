"""Domains on disk: pairs of files, read when asked for, ids remapped by one look-up table."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from da_toolkit.data.domain import DomainData
from da_toolkit.data.encodings import CITYSCAPES_IDS, TRAIN_IDS, RawClasses, lookup_table
from da_toolkit.data.labels import IGNORE, LabelSpace
from da_toolkit.data.listing import Pair
from da_toolkit.data.pixels import read_ids, read_image, read_size
from da_toolkit.errors import UserError

__all__ = ["FileDomainData", "Pair", "read_ids", "read_image"]


def _as_it_is(key: str, ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return ids


def _turned(crosswise: bool) -> str:
    """What may explain a label that lies across its image."""
    why = (
        "images are turned upright as their EXIF orientation says; was the label drawn on the picture as it is stored?"
    )
    return f" ({why})" if crosswise else ""


def _guessed(values: np.ndarray, classes: RawClasses) -> str:
    """What a file of unknown ids may be instead."""
    if values.max() > IGNORE:
        return "Ids beyond 255 are instances' numbers in most data sets."
    if TRAIN_IDS.items() <= classes.items() and set(values.tolist()) <= set(CITYSCAPES_IDS):
        return "They are Cityscapes' label ids, where train ids are expected."
    return "Is it the id file, not a coloured or train-id one?"


def looked_up(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """uint8 `table[ids]`, in a tenth of the time where the ids are uint8."""
    return cv2.LUT(ids, table[:256]) if ids.dtype == np.uint8 and ids.size else table[ids]


class FileDomainData(DomainData):
    """Pairs of files.

    Args:
        name: the domain's settings class, for messages.
        split: "train", "val" or "test".
        pairs: what to read.
        unlabelled: which images have no label and why, for messages.
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
        unlabelled: str = "",
    ) -> None:
        has_labels = bool(pairs) and all(pair.label is not None for pair in pairs)
        super().__init__(name, split, space, has_labels, "" if has_labels else unlabelled)
        self.pairs = pairs
        self.table, self.known = lookup_table(classes, space, size=65536)
        self.classes = classes
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
        """The label file's ids [H,W] before remapping. Raises `UserError` if the image has no label."""
        path = self.pairs[index].label
        if path is None:
            raise UserError(
                f"{self.name} {self.split}: the image {self.pairs[index].image} has no label file. "
                "Put the annotations beside it, or use a split that has them."
            )
        return self.read_label(path)

    def checked_ids(self, index: int) -> np.ndarray:
        """The ids [H,W] before remapping, all known and as large as the image. Raises `UserError` if they are not."""
        ids = self.raw_ids(index)
        pair = self.pairs[index]
        if not self._all_known(ids):
            values = np.unique(ids)
            strange = [int(v) for v in values if not 0 <= v < len(self.table) or not self.known[v]]
            valid = ", ".join(map(str, np.flatnonzero(self.known)))
            raise UserError(
                f"The label {pair.label} holds id {', '.join(map(str, strange[:8]))}, which {self.name} does not "
                f"define (ids: {valid}). {_guessed(values, self.classes)} Set the domain's `root` to the right files, "
                "or use `Folder` with a label table of your own."
            )
        size = read_size(pair.image)
        ids = self.fit_label(pair.key, ids, size)
        if ids.shape != size:
            raise UserError(
                f"The label {pair.label} is {ids.shape[1]}x{ids.shape[0]} pixels but its image {pair.image} is "
                f"{size[1]}x{size[0]}{_turned(ids.shape == size[::-1])}. Replace one of them, or remove the pair."
            )
        return ids

    def _all_known(self, ids: np.ndarray) -> bool:
        if ids.dtype == np.uint8:
            return bool(looked_up(self.known.view(np.uint8), ids).all())
        return ids.max(initial=0) < len(self.table) and ids.min(initial=0) >= 0 and bool(self.known[ids].all())

    def label(self, index: int) -> np.ndarray:
        return looked_up(self.table, self.checked_ids(index))
