"""The confusion that costs most, against correcting every one of them by hand."""

import numpy as np
import pytest

from da_toolkit.report.choosing import Chooser, misleading
from da_toolkit.report.confusing import costliest

CLASSES = ["road", "sidewalk", "person"]
MATRIX = [[50, 40, 0], [10, 30, 0], [0, 5, 5]]


def result(matrix, classes=CLASSES):
    return {"confusion": {"classes": classes, "matrix": matrix}}


def miou(counts):
    counts = np.array(counts, dtype=float)
    return 100 * np.mean([counts[c, c] / (counts[c].sum() + counts[:, c].sum() - counts[c, c]) for c in range(3)])


def test_it_is_the_one_whose_correction_gains_most():
    gains = {}
    for label in range(3):
        for called in range(3):
            if label != called:
                mended = np.array(MATRIX)
                mended[label, label] += mended[label, called]
                mended[label, called] = 0
                gains[label, called] = miou(mended) - miou(MATRIX)
    found = costliest([result(MATRIX)], CLASSES)
    assert (found.label, found.called) == ("road", "sidewalk") == tuple(CLASSES[c] for c in max(gains, key=gains.get))
    assert found.cost == pytest.approx(max(gains.values())) and found.share == pytest.approx(100 * 40 / 90)
    assert str(found) == f"road called sidewalk: 44 % of it, {found.cost:.1f} points"


def test_seeds_are_counted_together():
    other = np.array([[90, 0, 0], [0, 40, 0], [0, 10, 0]])
    both = costliest([result(MATRIX), result(other.tolist())], CLASSES)
    assert both == costliest([result((np.array(MATRIX) + other).tolist())], CLASSES)


def test_only_scored_classes_count():
    """Sidewalk costs nothing where it is not scored but what it takes from road."""
    assert costliest([result([[9, 1, 0], [0, 5, 5], [0, 0, 9]])], ["road"]).label == "road"


@pytest.mark.parametrize(
    "results",
    [
        [],
        [{}],
        [{"confusion": {"classes": CLASSES}}],
        [result(MATRIX), {}],
        [result(MATRIX), result(MATRIX, ["a", "b", "c"])],
        [result(np.eye(3).tolist())],
    ],
)
def test_without_matrices_of_the_same_classes_or_errors_there_is_none(results):
    assert costliest(results, CLASSES) is None


def test_merged_classes_have_none():
    assert costliest([result(MATRIX)], ["flat", "human"]) is None


def chooser(name, correlation, count=20):
    return Chooser(name, 5, 30.0, 0.0, None, 5, correlation, count)


def test_a_validator_that_ranks_the_wrong_way_is_told():
    ways = [chooser("entropy", 0.6), chooser("density", -0.86), chooser("few", -0.9, 4), chooser("unknown", None)]
    (told,) = misleading(ways)
    assert told.startswith("density ranks these 20 evaluations the wrong way (-0.86)")
