"""Benchmark tables from the `result.json` of runs: mean and spread over seeds, papers in their own column."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from da_toolkit.report.confusing import Confusion, costliest
from da_toolkit.report.grid import UNKNOWN, Grid, to_markdown, to_rich

# A result names its method by its settings class, with "+" and the regularizers' if it has any.
SOURCE_ONLY, ORACLE = "SourceOnly", "Oracle"


@dataclass(frozen=True)
class Row:
    """One recipe's scores over its seeds, in percent; none stands for unknown."""

    recipe: str
    method: str
    seeds: int
    miou: float | None
    """Mean over seeds."""
    spread: float | None
    """Sample standard deviation over seeds; none for a single one."""
    gain: float | None
    """mIoU above source-only; none without exactly one source-only recipe."""
    gap_closed: float | None
    """Share of the way from source-only to the oracle; none without exactly one of both, or a gap of 0."""
    per_class: dict[str, float | None]
    """Mean IoU of each class over the seeds in which it occurs."""
    seconds: float | None
    """Median run time."""
    peak_memory_mb: float | None
    """Largest of any seed."""
    fails: Confusion | None
    """The confusion that costs most, all seeds together; none where runs keep no matrix of the scored classes."""
    reported: float | None
    """The paper's mIoU, measured by its authors under this protocol."""
    paper: str


def summarize(results: Sequence[dict[str, Any]], protocol: str) -> list[Row]:
    """One row a recipe, in the order in which recipes first occur.

    Runs of one recipe that differ in steps get rows of their own, because their spread is not one of seeds.
    Gains are against the only source-only row; with two of them (two sources, say) no gain is claimed.

    Args:
        results: contents of `result.json`; those without the protocol are left out.
        protocol: a protocol's name, such as "cityscapes19".
    """
    scored = [result for result in results if protocol in result["scores"]]
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, result in zip(row_names(scored), scored, strict=True):
        groups.setdefault(name, []).append(result)
    floor = _reference(groups.values(), protocol, SOURCE_ONLY)
    ceiling = _reference(groups.values(), protocol, ORACLE)
    return [_row(name, runs, protocol, floor, ceiling) for name, runs in groups.items()]


def row_names(results: Sequence[dict[str, Any]]) -> list[str]:
    """The row each result belongs to: its recipe, with the steps where a recipe was run with several numbers of them.

    Args:
        results: those of one table, as all of them decide whether steps are told.
    """
    lengths: dict[str, set[Any]] = {}
    for result in results:
        lengths.setdefault(result["recipe"], set()).add(result.get("steps"))
    return [
        result["recipe"] if len(lengths[result["recipe"]]) == 1 else f"{result['recipe']} ({result.get('steps')} steps)"
        for result in results
    ]


def _row(name: str, runs: list[dict[str, Any]], protocol: str, floor: float | None, ceiling: float | None) -> Row:
    scores = [run["scores"][protocol] for run in runs]
    mious = [s["miou"] for s in scores if s["miou"] is not None]
    mean = _mean(mious)
    gain = mean - floor if mean is not None and floor is not None else None
    gap = ceiling - floor if ceiling is not None and floor is not None else 0.0
    reported = runs[0].get("reported") or {}
    if reported.get("protocol", protocol) != protocol:
        reported = {}
    classes = dict.fromkeys(name for s in scores for name in s["per_class"])
    return Row(
        recipe=name,
        method=runs[0]["method"],
        seeds=len(runs),
        miou=mean,
        spread=statistics.stdev(mious) if len(mious) > 1 else None,
        gain=gain,
        gap_closed=100 * gain / gap if gain is not None and gap > 0 else None,
        per_class={name: _mean(s["per_class"].get(name) for s in scores) for name in classes},
        seconds=statistics.median(known) if (known := _known(runs, "seconds")) else None,
        peak_memory_mb=max(_known(runs, "peak_memory_mb"), default=None),
        fails=costliest(runs, list(classes)),
        reported=reported.get("miou"),
        paper=reported.get("paper", ""),
    )


def _reference(groups: Iterable[list[dict[str, Any]]], protocol: str, method: str) -> float | None:
    means = [_mean(r["scores"][protocol]["miou"] for r in runs) for runs in groups if runs[0]["method"] == method]
    return means[0] if len(means) == 1 else None


def _known(runs: list[dict[str, Any]], key: str) -> list[float]:
    return [run[key] for run in runs if run.get(key) is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def number(value: float | None, pattern: str = "{:.1f}") -> str:
    """The value as text; "–" for none."""
    return UNKNOWN if value is None else pattern.format(value)


def mean_and_spread(values: Sequence[float]) -> str:
    """Their mean and, of several, sample standard deviation, as text; "–" for none."""
    if not values:
        return UNKNOWN
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{deviation}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def _cells(row: Row) -> dict[str, str]:
    """The columns before the classes."""
    return {
        "recipe": row.recipe,
        "seeds": str(row.seeds),
        "mIoU": number(row.miou) + ("" if row.spread is None else f" ± {row.spread:.1f}"),
        "gain": number(row.gain, "{:+z.1f}"),
        "gap closed": number(row.gap_closed, "{:.0f} %"),
        "paper's mIoU": UNKNOWN if row.reported is None else f"{row.reported:.1f} ({row.paper})",
        "time": _time(row.seconds),
        "memory": UNKNOWN if not row.peak_memory_mb else f"{row.peak_memory_mb / 1024:.1f} GiB",
    }


def classes_of(rows: Sequence[Row]) -> list[str]:
    """Names of all classes that any row scores."""
    return list(dict.fromkeys(name for row in rows for name in row.per_class))


def score_grid(rows: Sequence[Row], title: str = "", more: Mapping[str, Sequence[str]] | None = None) -> Grid:
    """One line a recipe: mIoU, gain, the paper's number and the cost; the best mIoU is bold.

    The oracle trains on target labels, so it is never the best.

    Args:
        rows: at least one.
        title: of the table.
        more: further columns, head -> a text for each row; they stand after the mIoU.
    """
    lines = []
    for place, row in enumerate(rows):
        cells = list(_cells(row).items())
        cells[3:3] = [(head, texts[place]) for head, texts in (more or {}).items()]
        lines.append(dict(cells))
    adapted = {place: row.miou for place, row in enumerate(rows) if row.miou is not None and row.method != ORACLE}
    best = max(adapted.values(), default=None)
    return Grid(
        tuple(lines[0]),
        tuple(tuple(line.values()) for line in lines),
        title,
        frozenset((place, 2) for place, miou in adapted.items() if len(rows) > 1 and miou == best),
    )


def class_grid(rows: Sequence[Row], title: str = "") -> Grid:
    """One line a recipe and one column a class: mean IoU in percent."""
    classes = classes_of(rows)
    lines = tuple((row.recipe, *(number(row.per_class.get(name)) for name in classes)) for row in rows)
    return Grid(("recipe", *classes), lines, title)


def failing_grid(rows: Sequence[Row], title: str = "") -> Grid:
    """One line a recipe: the confusion that costs it most."""
    lines = [(row.recipe, UNKNOWN if row.fails is None else str(row.fails)) for row in rows]
    return Grid(("recipe", "costliest confusion"), tuple(lines), title)


def markdown(rows: Sequence[Row]) -> str:
    """A GitHub table with one line a recipe and every class as a column; empty without rows."""
    if not rows:
        return ""
    scores, classes = score_grid(rows), class_grid(rows)
    lines = [left + right[1:] for left, right in zip(scores.lines, classes.lines, strict=True)]
    return to_markdown(Grid(scores.heads + classes.heads[1:], tuple(lines)))


def rich_table(rows: Sequence[Row], title: str = "") -> Table:
    """The scores for a terminal, without empty columns; nothing but the title without rows."""
    return to_rich(score_grid(rows, title).without_empty_columns()) if rows else Table(title=title or None)


def class_table(rows: Sequence[Row], title: str = "IoU per class, percent") -> Table:
    """One line a class and one column a recipe, so that 19 classes fit a terminal."""
    return to_rich(recipe_columns(rows, title))


def recipe_columns(rows: Sequence[Row], title: str) -> Grid:
    """IoU with one line a class and one column a recipe."""
    heads = ("class", *(row.recipe.replace("_", " ") for row in rows))
    lines = tuple((name, *(number(row.per_class.get(name)) for row in rows)) for name in classes_of(rows))
    return Grid(heads, lines, title)


def terminal_tables(rows: Sequence[Row], title: str) -> list[Table]:
    """Scores and per-class IoU as two tables; none without rows."""
    return [rich_table(rows, title), class_table(rows)] if rows else []
