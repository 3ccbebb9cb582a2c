"""Intervals of recipes' differences to a baseline, from the counts that runs keep of every validation image."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from da_toolkit.data.labels import LABEL_SPACES, STREETS7, STREETS11
from da_toolkit.report.bootstrap import Interval, draw_images, interval, resampled_miou
from da_toolkit.report.runs import Confusions, Run


def paired_differences(
    groups: dict[str, list[Run]], baseline: str, protocol: str
) -> tuple[dict[str, Interval], list[str]]:
    """Each row's difference to the baseline over the seeds that both have.

    Args:
        groups: row -> its runs, all scored under the protocol.
        baseline: one of the rows.
        protocol: whose classes are scored.

    Returns:
        Intervals by row, and a sentence for each row that has none or leaves seeds out.

    Raises:
        UserError: a run's counts are damaged.
    """
    resampler = _Resampler(protocol)
    base = {run.result["seed"]: run for run in groups[baseline]}
    found: dict[str, Interval] = {}
    reasons = []
    for name, group in groups.items():
        ours = {run.result["seed"]: run for run in group}
        both = sorted(ours.keys() & base.keys())
        if name == baseline:
            continue
        if not both:
            reasons.append(f"{name} has no interval: no seed in common with {baseline}, and pairs are matched by seed.")
            continue
        try:
            images = _shared_images([of[seed] for seed in both for of in (base, ours)])
            resamples = [resampler.mious(ours[seed]) - resampler.mious(base[seed]) for seed in both]
        except _NoIntervalError as reason:
            reasons.append(f"{name} has no interval: {reason}.")
            continue
        told = statistics.mean(resampler.told(ours[seed]) - resampler.told(base[seed]) for seed in both)
        found[name] = interval(np.mean(resamples, axis=0), told, both, images)
        if alone := sorted(ours.keys() ^ base.keys()):
            reasons.append(
                f"{name}: its difference to {baseline} is over the seeds that both have "
                f"({', '.join(map(str, both))}), without {', '.join(map(str, alone))}."
            )
    return found, reasons


def scored_ids(scored: Sequence[str], classes: int) -> list[int] | None:
    """Ids of the scored classes in a confusion matrix of so many classes; none if their order is not known.

    A matrix with as many classes as are scored has them in that order; otherwise a known label space must fit.
    """
    if len(scored) == classes:
        return list(range(classes))
    for space in LABEL_SPACES.values():
        if len(space) == classes and set(scored) <= set(space.classes):
            return [space.index(name) for name in scored]
    return None


def _in_categories(counts: np.ndarray, protocol: str) -> np.ndarray:
    """Counts [N,C,C] as a protocol reads them: merged, if it scores categories."""
    if protocol != "streets7":
        return counts
    into = np.array([[name in classes for name in STREETS11.classes] for classes in STREETS7.values()], np.int64)
    if counts.shape[1] != into.shape[1]:
        raise _NoIntervalError(f"its counts are of {counts.shape[1]} classes, and streets7 merges {into.shape[1]}")
    return into @ counts @ into.T


class _NoIntervalError(Exception):
    """Why runs cannot be paired."""


def _confusions(run: Run) -> Confusions:
    if run.confusions is None:
        raise _NoIntervalError(f"{run.folder} has no confusions.npz, as runs made by an older version")
    return run.confusions


def _shared_images(runs: Sequence[Run]) -> int:
    """Number of images that all runs were scored on. Raises `_NoIntervalError` unless they are the same."""
    first, *others = [sorted(_confusions(run).keys) for run in runs]
    for run, keys in zip(runs[1:], others, strict=True):
        if keys != first:
            shared = len(set(first) & set(keys))
            raise _NoIntervalError(
                f"different validation images ({runs[0].folder} has {len(first)}, {run.folder} has {len(keys)}, and "
                f"{shared} are in both)"
            )
    if len(first) < 2:
        raise _NoIntervalError("fewer than two validation images cannot be resampled")
    return len(first)


class _Resampler:
    """Resampled mIoU of runs; each run is read and resampled once."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.draws: dict[int, np.ndarray] = {}
        self.known: dict[Path, np.ndarray] = {}

    def told(self, run: Run) -> float:
        """The mIoU of the run's result."""
        return float(run.result["scores"][self.protocol]["miou"])

    def mious(self, run: Run) -> np.ndarray:
        """[resamples], over the run's images in the order of their names.

        Raises `_NoIntervalError` if the counts are not those of the result.
        """
        if run.folder not in self.known:
            confusions, scores = _confusions(run), run.result["scores"][self.protocol]
            file, images = run.folder / "confusions.npz", len(confusions.keys)
            counts = _in_categories(confusions.counts[np.argsort(confusions.keys)], self.protocol)
            scored = scored_ids(list(scores["per_class"]), counts.shape[1])
            if scored is None:
                raise _NoIntervalError(f"the order of the classes in {file} is not known")
            whole = float(resampled_miou(counts, np.ones((1, images)), scored)[0])
            if scores["miou"] is None or not abs(whole - scores["miou"]) < 1e-6:
                raise _NoIntervalError(f"{file} gives mIoU {whole:.3f}, but its result.json {scores['miou']}")
            if images not in self.draws:
                self.draws[images] = draw_images(images)
            self.known[run.folder] = resampled_miou(counts, self.draws[images], scored)
        return self.known[run.folder]
