"""The confusion that costs a run most: which class is called what, and what its score would gain without that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from da_toolkit.report.bootstrap import resampled_miou


@dataclass(frozen=True)
class Confusion:
    """Pixels of one class that are called another."""

    label: str
    called: str
    share: float
    """Percent of the class's pixels."""
    cost: float
    """Points of mIoU that would be gained if these pixels alone were right."""

    def __str__(self) -> str:
        return f"{self.label} called {self.called}: {self.share:.0f} % of it, {self.cost:.1f} points"


def costliest(results: Sequence[dict[str, Any]], scored: Sequence[str]) -> Confusion | None:
    """The confusion whose correction alone would raise the mIoU over the `scored` classes most, the first of equals.

    Args:
        results: contents of `result.json`, whose pixels are counted together; none is found where one keeps no
            "confusion", its classes differ, or nothing is confused.
        scored: classes that the mean is taken over; they must be the classes of the matrix, not merged ones.
    """
    kept = [_read(result.get("confusion")) for result in results]
    classes = kept[0][0] if kept and kept[0] is not None else []
    matrices = [one[1] for one in kept if one is not None and one[0] == classes]
    if not classes or len(matrices) < len(results) or not set(scored) <= set(classes):
        return None
    counts = np.sum(matrices, axis=0)
    places = [classes.index(name) for name in scored]
    before = _miou(counts, places)
    found: Confusion | None = None
    for label, called in zip(*np.nonzero(counts), strict=True):
        if label == called:
            continue
        mended = counts.copy()
        mended[label, label] += mended[label, called]
        mended[label, called] = 0
        cost = _miou(mended, places) - before
        if found is None or cost > found.cost:
            share = 100 * counts[label, called] / counts[label].sum()
            found = Confusion(classes[label], classes[called], float(share), cost)
    return found


def _read(stored: Any) -> tuple[list[str], np.ndarray] | None:
    """Classes and counts int64 [C,C] of what a `result.json` holds, or none where it is damaged."""
    if not isinstance(stored, dict):
        return None
    classes, matrix = stored.get("classes"), stored.get("matrix")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        return None
    if not isinstance(matrix, list) or len(matrix) != len(classes):
        return None
    if not all(isinstance(row, list) and len(row) == len(classes) for row in matrix):
        return None
    if not all(type(count) is int and 0 <= count < 2**53 for row in matrix for count in row):
        return None
    return classes, np.array(matrix, dtype=np.int64)


def _miou(counts: np.ndarray, places: Sequence[int]) -> float:
    """Percent, 0 where none of the classes occurs."""
    return float(np.nan_to_num(resampled_miou(counts[None], np.ones((1, 1)), places)[0]))
