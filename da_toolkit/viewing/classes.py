"""Class names, IoU of each class and the confusion matrix of a run's last evaluation."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from da_toolkit.data.labels import LABEL_SPACES
from da_toolkit.viewing.reading import list_of, number_of, object_of

AS_TRAINED = "classes as trained"
"""Stands for a protocol where only the confusion matrix is known: of a run that is still training."""
_MOST_CLASSES = 256


def scores_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Protocol -> {"miou": percent or none, "per_class": {class: percent or none}} of a `result.json`."""
    found = {}
    for protocol, scores in object_of(result.get("scores")).items():
        if isinstance(scores, dict):
            per_class = {name: number_of(value) for name, value in object_of(scores.get("per_class")).items()}
            found[protocol] = {"miou": number_of(scores.get("miou")), "per_class": per_class}
    return found


def class_names(recipe: dict[str, Any]) -> list[str]:
    """The classes that a `recipe.json` trains; none if it does not say."""
    labels = object_of(recipe.get("target")).get("labels")
    if isinstance(labels, str) and labels in LABEL_SPACES:
        return list(LABEL_SPACES[labels].classes)
    names = list_of(object_of(labels).get("classes"))
    return names if all(isinstance(name, str) for name in names) else []


def confusion_of(
    folder: Path, result: dict[str, Any], recipe: dict[str, Any], problems: list[str]
) -> tuple[list[str], list[list[int]]]:
    """Classes and pixel counts, rows = label, columns = prediction; empty if the run has kept none."""
    kept = object_of(result.get("confusion"))
    rows, names = list_of(kept.get("matrix")), list_of(kept.get("classes"))
    if not rows:
        rows = _summed(folder / "confusions.npz", problems)
        names = class_names(recipe) or _scored(result)
    if not all(isinstance(row, list) and len(row) == len(rows) for row in rows) or len(rows) > _MOST_CLASSES:
        problems.append("The confusion matrix is damaged (it is not square) and left out.")
        return [], []
    if len(names) != len(rows):
        names = [f"class {number}" for number in range(len(rows))]
    return [str(name) for name in names], [[max(0, int(number_of(count) or 0)) for count in row] for row in rows]


def _scored(result: dict[str, Any]) -> list[str]:
    return next((list(scores["per_class"]) for scores in scores_of(result).values()), [])


def _summed(file: Path, problems: list[str]) -> list[list[int]]:
    """The sum of the images' confusion matrices."""
    if not file.is_file():
        return []
    try:
        with np.load(file, allow_pickle=False) as arrays:
            counts = arrays["counts"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        problems.append(f"{file.name} is damaged or being written: it holds no arrays of counts.")
        return []
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or not np.issubdtype(counts.dtype, np.integer):
        problems.append(f"{file.name} is damaged: its counts of shape {counts.shape} are no matrices of pixels.")
        return []
    summed: list[list[int]] = counts.sum(0).tolist()
    return summed


def iou_of(names: list[str], matrix: list[list[int]]) -> dict[str, float | None]:
    """IoU of each class in percent, true positives / (true + false positives + false negatives) (Everingham et al.,
    IJCV 2015); none for a class without a pixel."""
    counts = np.asarray(matrix, dtype=np.float64).reshape(len(names), len(names))
    hit = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - hit
    return {
        name: 100 * float(right) / float(all_) if all_ else None
        for name, right, all_ in zip(names, hit, union, strict=True)
    }
