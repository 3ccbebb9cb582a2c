"""Paired bootstrap over validation images: how far a difference in mIoU rests on which images were scored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 5000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A difference in mIoU, percentage points, with the percentile interval of its resamples."""

    difference: float
    low: float
    high: float
    seeds: tuple[int, ...]
    """Over which the difference is averaged."""
    images: int

    def __str__(self) -> str:
        return f"{self.difference:+z.1f} [{self.low:+z.1f}, {self.high:+z.1f}]"


def draw_images(images: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """float64 [resamples,images]: how often each image occurs in each draw of `images` images with replacement."""
    chosen = np.random.default_rng(seed).integers(images, size=(resamples, images))
    places = chosen + images * np.arange(resamples)[:, None]
    return np.bincount(places.ravel(), minlength=resamples * images).reshape(resamples, images).astype(float)


def resampled_miou(counts: np.ndarray, draws: np.ndarray, scored: Sequence[int]) -> np.ndarray:
    """mIoU in percent of each draw, [resamples], from confusion matrices summed over its images.

    A class in neither labels nor predictions of a draw is left out of that draw's mean; nan if none is left.

    Args:
        counts: int64 [images,C,C], rows = label, columns = prediction.
        draws: [resamples,images], how often each image occurs.
        scored: ids of the classes that the mean is taken over.
    """
    hits = np.einsum("icc->ic", counts)
    unions = counts.sum(1) + counts.sum(2) - hits
    # Counts of pixels stay far below 2^53, so float64 sums are exact and matrix products do all the work.
    hit, union = (draws @ part[:, scored].astype(float) for part in (hits, unions))
    occurs = union > 0
    ious = np.divide(hit, union, out=np.zeros_like(hit), where=occurs)
    found = occurs.sum(1)
    return 100 * np.divide(ious.sum(1), found, out=np.full(len(found), np.nan), where=found > 0)


def interval(differences: np.ndarray, difference: float, seeds: Sequence[int], images: int) -> Interval:
    """The central `LEVEL` of the resampled differences [resamples]."""
    low, high = np.nanquantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(difference, float(low), float(high), tuple(seeds), images)
