"""What a comparison of runs says under one protocol: scores, paired intervals, choices without target labels."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from da_toolkit.errors import unknown_name
from da_toolkit.report.bootstrap import LEVEL, RESAMPLES, Interval
from da_toolkit.report.choosing import LAST, ORACLE_CHOICE, Chooser, choices, choosers, misleading, validator_names
from da_toolkit.report.grid import UNKNOWN, Grid
from da_toolkit.report.paired import paired_differences
from da_toolkit.report.runs import Run
from da_toolkit.report.table import (
    ORACLE,
    SOURCE_ONLY,
    Row,
    class_grid,
    classes_of,
    failing_grid,
    number,
    row_names,
    score_grid,
    summarize,
)


@dataclass(frozen=True)
class Comparison:
    """Runs under one protocol. `rows`, `runs` and `names` describe each other: a row is the runs of its name."""

    protocol: str
    runs: tuple[Run, ...]
    names: tuple[str, ...]
    """The row of each run."""
    rows: tuple[Row, ...]
    baseline: str | None
    """The row that differences are against."""
    differences: dict[str, Interval]
    """Of rows other than the baseline, where images could be paired."""
    choosers: tuple[Chooser, ...]
    notes: tuple[str, ...]
    """What a reader must know: how intervals were made, and whatever is missing and why."""

    def of(self, row: str) -> list[Run]:
        """The runs of a row, by seed."""
        found = [run for run, name in zip(self.runs, self.names, strict=True) if name == row]
        return sorted(found, key=lambda run: run.result["seed"])

    def scores(self) -> Grid:
        """Recipes with mIoU, gain, interval, the papers' numbers and the cost."""
        more = {}
        if self.differences:
            head = f"vs. {self.baseline} [{100 * LEVEL:.0f} %]"
            more[head] = [str(self.differences.get(row.recipe, UNKNOWN)) for row in self.rows]
        return score_grid(self.rows, f"{self.protocol}: mIoU, percent", more).without_empty_columns()

    def classes(self) -> Grid:
        """Recipes with their IoU of each class."""
        return class_grid(self.rows, f"{self.protocol}: IoU per class, percent")

    def failing(self) -> Grid | None:
        """The confusion that costs each row most; none if no run kept its confusion matrix."""
        if all(row.fails is None for row in self.rows):
            return None
        return failing_grid(self.rows, f"{self.protocol}: what costs most")

    def choosing(self) -> Grid | None:
        """Ways of choosing a step, averaged over runs; none if no run can be chosen from."""
        return choosing_grid(self.choosers, f"{self.protocol}: choosing without target labels")

    def choices(self) -> Grid | None:
        """What each way of choosing picks in each run, as "mIoU @ step"; none if no run can be chosen from."""
        validators = validator_names([run.evaluations for run in self.runs])
        ways = (LAST, *validators, ORACLE_CHOICE)
        lines = []
        for row in self.rows:
            for run in self.of(row.recipe):
                if picked := choices(run.evaluations, self.protocol, validators):
                    cells = [
                        f"{picked[way].miou:.1f} @ {picked[way].step}" if way in picked else UNKNOWN for way in ways
                    ]
                    lines.append((f"{row.recipe}, seed {run.result['seed']}", *cells))
        return Grid(("run", *ways), tuple(lines), f"{self.protocol}: mIoU @ step of each choice") if lines else None


def choosing_grid(ways: Sequence[Chooser], title: str) -> Grid | None:
    """One line a way of choosing; none if no run can be chosen from: nearly all of it would be unknown."""
    if not any(way.runs for way in ways):
        return None
    heads = ("chosen by", "runs", "mIoU", "above last", "rank corr., final (n)", "rank corr., all (n)")
    lines = [
        (
            way.name,
            str(way.runs),
            number(way.miou),
            number(way.above_last, "{:+z.1f}"),
            _correlation(way.correlation_final, way.final),
            _correlation(way.correlation_all, way.all),
        )
        for way in ways
    ]
    return Grid(heads, tuple(lines), title)


def _correlation(value: float | None, count: int) -> str:
    return UNKNOWN if value is None else f"{value:+.2f} ({count})"


def protocols_in(runs: Sequence[Run]) -> list[str]:
    """The protocols under which any run is scored, in the order in which they first occur."""
    return list(dict.fromkeys(name for run in runs for name in run.result["scores"]))


def compare(runs: Sequence[Run], protocol: str = "", baseline: str = "") -> list[Comparison]:
    """One comparison a protocol; source-only comes first and the oracle last, others stand in the order given.

    Args:
        runs: at least one.
        protocol: only this one; by default all.
        baseline: the row that differences are against, by its name or its recipe's; by default the source-only recipe
            if there is exactly one.

    Raises:
        UserError: no run has the protocol, no row has the baseline's name, or a run's pixel counts are damaged.
    """
    known = protocols_in(runs)
    if protocol and protocol not in known:
        raise unknown_name("protocol (--protocol) of these runs", protocol, known)
    wanted = [protocol] if protocol else known
    order = {SOURCE_ONLY: 0, ORACLE: 2}
    ordered = sorted(runs, key=lambda run: order.get(run.result["method"], 1))
    found = [_compare(ordered, name, baseline) for name in wanted]
    if baseline and not any(comparison.baseline for comparison in found):
        valid = {row.recipe for comparison in found for row in comparison.rows}
        raise unknown_name("baseline (--baseline)", baseline, valid)
    return found


def _compare(runs: Sequence[Run], protocol: str, wanted: str) -> Comparison:
    scored = [run for run in runs if protocol in run.result["scores"]]
    results = [run.result for run in scored]
    rows = summarize(results, protocol)
    names = row_names(results)
    notes = []
    if missing := [run for run in runs if run not in scored]:
        notes.append(f"Not scored under {protocol} and left out: {_few([run.label for run in missing])}.")
    groups: dict[str, list[Run]] = {row.recipe: [] for row in rows}
    for name, run in zip(names, scored, strict=True):
        groups[name].append(run)
    for name, group in groups.items():
        if differing := differing_settings(group):
            notes.append(f"{name}: its seeds differ in settings, so its spread is not of seeds alone: {differing}.")
    notes += _unlike("precision", {run.label: run.result.get("precision") for run in scored}, str)
    notes += _unlike("training steps", {run.label: run.result.get("steps") for run in scored}, str)
    keys = {run.label: frozenset(run.confusions.keys) for run in scored if run.confusions is not None}
    notes += _unlike("validation images", keys, lambda images: f"{len(images)} images")
    baseline, why = _baseline(rows, groups, wanted)
    differences, reasons = paired_differences(groups, baseline, protocol) if baseline else ({}, [])
    if differences:
        images = " or ".join(map(str, sorted({found.images for found in differences.values()})))
        notes.append(
            f"[low, high] after a difference to {baseline} is its {100 * LEVEL:.0f} % interval by paired bootstrap: "
            f"{RESAMPLES} draws, with replacement, of the {images} validation images. Seeds are not resampled. A draw "
            "is the same for both recipes and for all their seeds, seeds are matched by number, and mIoU is taken anew "
            "from the summed confusion matrices."
        )
    ways = choosers([run.evaluations for run in scored], protocol)
    if any(way.runs for way in ways):
        notes.append(
            "Choosing: of runs with at least two evaluations, the step at which a validator is highest (the earlier of "
            f'equals). "{ORACLE_CHOICE}" takes the highest mIoU, which nobody can do without labels. Rank correlation '
            "is Spearman's, between a validator and mIoU."
        )
        notes += misleading(ways)
    elif len(ways) > 2:
        notes.append(
            "How to choose a step without target labels is not shown: no run was scored on its way "
            "(--evaluation.every), so there is nothing to choose from."
        )
    return Comparison(
        protocol,
        tuple(scored),
        tuple(names),
        tuple(rows),
        baseline,
        differences,
        tuple(ways),
        (*notes, *([why] if why else []), *reasons),
    )


def _unlike(what: str, found: dict[str, Any], shown: Callable[[Any], str]) -> list[str]:
    """A note of the runs, label -> value, that differ in something that scores depend on; none if all are alike."""
    groups: dict[Any, list[str]] = {}
    for label, value in found.items():
        groups.setdefault(value, []).append(label)
    if len(groups) < 2:
        return []
    told = [f"{shown(value)} ({_few(labels, 2)})" for value, labels in groups.items()]
    return [f"Runs differ in {what}, so their scores do not compare like with like: {_few(told)}."]


def _few(names: Sequence[str], most: int = 5) -> str:
    more = f"; and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


def _baseline(rows: Sequence[Row], groups: dict[str, list[Run]], wanted: str) -> tuple[str | None, str]:
    """The baseline's row, or why there is none."""
    if wanted:
        fitting = [name for name, group in groups.items() if wanted in (name, group[0].result["recipe"])]
        kind = f"rows of the recipe {wanted!r}"
    else:
        fitting = [row.recipe for row in rows if row.method == SOURCE_ONLY]
        kind = "source-only rows"
    if len(fitting) == 1:
        return fitting[0], ""
    if wanted in fitting:
        return wanted, ""
    told = f" ({', '.join(fitting)})" if fitting else ""
    return (
        None,
        f"No differences with intervals: there are {len(fitting) or 'no'} {kind}{told}; name one by --baseline.",
    )


def differing_settings(runs: Sequence[Run]) -> str:
    """The first top-level settings in which the runs' `recipe.json` differ; empty if none does or any is not known."""
    kept = []
    for run in runs:
        try:
            kept.append(json.loads((run.folder / "recipe.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return ""
    if not all(isinstance(settings, dict) for settings in kept):
        return ""
    names = dict.fromkeys(name for settings in kept for name in settings)
    return ", ".join(name for name in names if any(s.get(name) != kept[0].get(name) for s in kept))


def to_csv(comparisons: Sequence[Comparison]) -> str:
    """One line a protocol and recipe with unrounded numbers and one column a class; unknown is an empty cell."""
    classes = list(dict.fromkeys(name for comparison in comparisons for name in classes_of(comparison.rows)))
    heads = [
        *("protocol", "recipe", "method", "seeds", "miou", "miou_sample_std", "gain_over_source_only"),
        *("oracle_gap_closed_percent", "baseline", "difference", "difference_low", "difference_high"),
        *("difference_seeds", "paper_miou", "paper", "median_seconds", "peak_memory_mb"),
    ]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*heads, *(f"iou {name}" for name in classes)])
    for comparison in comparisons:
        for row in comparison.rows:
            paired = comparison.differences.get(row.recipe)
            values = [
                *(comparison.protocol, row.recipe, row.method, row.seeds, row.miou, row.spread, row.gain),
                *(row.gap_closed, comparison.baseline),
                *(
                    (paired.difference, paired.low, paired.high, ", ".join(map(str, paired.seeds)))
                    if paired
                    else [None] * 4
                ),
                *(row.reported, row.paper, row.seconds, row.peak_memory_mb or None),
            ]
            writer.writerow([*values, *(row.per_class.get(name) for name in classes)])
    return file.getvalue()
