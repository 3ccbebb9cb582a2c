"""Benchmark tables from the `result.json` of runs: mean and spread over seeds, papers in their own column."""

import statistics
from dataclasses import dataclass
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One recipe's scores over its seeds, percent."""

    recipe: str
    seeds: int
    miou: float
    spread: float | None
    """Sample standard deviation; none for a single seed."""
    per_class: dict[str, float | None]
    seconds: float
    reported: str
    gap_closed: float | None
    """Share of the way from source-only to the oracle, percent; none without both."""


def summarize(results: list[dict[str, Any]], protocol: str) -> list[Row]:
    """Rows in the order in which recipes first occur; results without that protocol are left out."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if protocol in result["scores"]:
            groups.setdefault(result["recipe"], []).append(result)
    means = {name: statistics.mean(r["scores"][protocol]["miou"] for r in runs) for name, runs in groups.items()}
    methods = {name: runs[0]["method"] for name, runs in groups.items()}
    floor = next((means[n] for n, method in methods.items() if method == "SourceOnly"), None)
    ceiling = next((means[n] for n, method in methods.items() if method == "Oracle"), None)
    rows = []
    for name, runs in groups.items():
        scores = [run["scores"][protocol] for run in runs]
        mious = [s["miou"] for s in scores]
        closed = None
        if floor is not None and ceiling is not None and ceiling > floor:
            closed = 100 * (means[name] - floor) / (ceiling - floor)
        rows.append(
            Row(
                recipe=name,
                seeds=len(runs),
                miou=means[name],
                spread=statistics.stdev(mious) if len(mious) > 1 else None,
                per_class={c: _mean([s["per_class"][c] for s in scores]) for c in scores[0]["per_class"]},
                seconds=statistics.median(run["seconds"] for run in runs),
                reported=_reported(runs[0].get("reported"), protocol),
                gap_closed=closed,
            )
        )
    return rows


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def _reported(reported: dict[str, Any] | None, protocol: str) -> str:
    if not reported or reported["protocol"] != protocol:
        return ""
    return f"{reported['miou']:.1f} ({reported['paper']})"


def _cells(row: Row) -> list[str]:
    spread = "" if row.spread is None else f" ± {row.spread:.1f}"
    closed = "" if row.gap_closed is None else f"{row.gap_closed:.0f} %"
    head = [row.recipe, str(row.seeds), f"{row.miou:.1f}{spread}", closed, f"{row.seconds:.0f}", row.reported]
    return head + ["-" if v is None else f"{v:.0f}" for v in row.per_class.values()]


def _header(rows: list[Row]) -> list[str]:
    return ["recipe", "seeds", "mIoU", "gap closed", "seconds", "paper's number", *rows[0].per_class]


def markdown(rows: list[Row]) -> str:
    """A GitHub table; empty without rows."""
    if not rows:
        return ""
    lines = [_header(rows), ["---"] * len(_header(rows)), *map(_cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def terminal_tables(rows: list[Row], title: str) -> list[Table]:
    """The scores, and the per-class IoU with one class a line, so that both fit a terminal."""
    if not rows:
        return []
    head = Table(title=title)
    for column in _header(rows)[:6]:
        head.add_column(column, justify="left" if column in ("recipe", "paper's number") else "right")
    for row in rows:
        head.add_row(*_cells(row)[:6])
    classes = Table(title="IoU per class, percent")
    classes.add_column("class")
    for row in rows:
        classes.add_column(row.recipe, justify="right")
    for name in rows[0].per_class:
        values = [row.per_class[name] for row in rows]
        classes.add_row(name, *("-" if value is None else f"{value:.1f}" for value in values))
    return [head, classes]
