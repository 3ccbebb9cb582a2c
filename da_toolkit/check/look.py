"""Reads a whole split once and keeps the little that every question needs of an image."""

import hashlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np

from da_toolkit.check.outlines import label_outline, picture_outline, small
from da_toolkit.data.domain import DomainData
from da_toolkit.data.files import FileDomainData
from da_toolkit.errors import UserError
from da_toolkit.terminal import track

SAMPLE = 64
"""Images, evenly spread, that are looked at more closely."""
THUMB = 32


@dataclass
class ImageLook:
    """What is kept of one image and its label; none where it could not be read or was not to be opened."""

    key: str
    size: tuple[int, int] | None = None
    """(height, width)."""
    digest: str = ""
    """Of the decoded pixels: the same picture in another file is the same."""
    thumb: np.ndarray | None = None
    """uint8 [32,32] grey."""
    contrast: int = 255
    """Largest minus smallest value of any channel."""
    counts: np.ndarray | None = None
    """int64 [256] pixels of each train id."""
    raw: dict[int, int] | None = None
    """Id in the file -> pixels, of the sample."""
    outline: np.ndarray | None = None
    """Of the picture, of the sample."""
    borders: np.ndarray | None = None
    """Of the label, of the sample and its neighbours."""
    layout: np.ndarray | None = None
    """uint8 train ids of a small label, of the sample."""
    label_missing: bool = False
    errors: list[str] = field(default_factory=list)


@dataclass
class SplitLook:
    """Every image of a split, in order."""

    images: list[ImageLook]
    sample: list[int]
    labelled: bool
    """Its labels were opened."""

    def sampled(self) -> Iterator[ImageLook]:
        return (self.images[index] for index in self.sample)

    @property
    def counts(self) -> np.ndarray:
        """int64 [256] pixels of each train id in the whole split."""
        return sum((look.counts for look in self.images if look.counts is not None), np.zeros(256, np.int64))


def look_at(data: DomainData, with_labels: bool) -> SplitLook:
    """Read every image and, if `with_labels`, every label; what cannot be read is noted, not raised."""
    sample = sorted(set(np.linspace(0, len(data) - 1, min(SAMPLE, len(data))).astype(int).tolist()))
    close, around = set(sample), {near for index in sample for near in (index - 1, index, index + 1)}

    def look(index: int) -> ImageLook:
        found = ImageLook(data.key(index))
        try:
            _see_image(found, data.image(index), index in close)
        except UserError as error:
            found.errors.append(str(error))
        if with_labels:
            try:
                _see_label(found, data, index, index in close, index in around)
            except UserError as error:
                found.errors.append(str(error))
        return found

    with ThreadPoolExecutor() as pool:
        seen = pool.map(look, range(len(data)))
        told = f"checking {data.name} {data.split}"
        images = list(track(seen, told, len(data), sys.stderr))  # so that --json stands alone on stdout
    return SplitLook(images, sample, with_labels)


def _see_image(found: ImageLook, image: np.ndarray, close: bool) -> None:
    found.size = (image.shape[0], image.shape[1])
    found.digest = hashlib.sha1(image.tobytes(), usedforsecurity=False).hexdigest() + str(image.shape)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found.thumb = cv2.resize(grey, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    found.contrast = int((image.max((0, 1)).astype(int) - image.min((0, 1))).max())
    if close:
        found.outline = picture_outline(image)


def _see_label(found: ImageLook, data: DomainData, index: int, close: bool, around: bool) -> None:
    if isinstance(data, FileDomainData):
        file = data.pairs[index].label
        if file is None or not file.is_file():
            found.label_missing = True
            return
        if close:
            ids, counts = np.unique(data.raw_ids(index), return_counts=True)
            found.raw = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    label = data.label(index)
    found.counts = np.bincount(label.ravel(), minlength=256)
    if around:
        found.borders = label_outline(label)
    if close:
        found.layout = small(label, cv2.INTER_NEAREST)
