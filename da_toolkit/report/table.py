"""Benchmark tables from the `result.json` of runs: mean and spread over seeds, papers in their own column."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

# A result names its method by its settings class, with "+" and the regularizers' if it has any.
_SOURCE_ONLY, _ORACLE = "SourceOnly", "Oracle"


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
    groups: dict[tuple[str, Any], list[dict[str, Any]]] = {}
    for result in results:
        if protocol in result["scores"]:
            groups.setdefault((result["recipe"], result.get("steps")), []).append(result)
    floor = _reference(groups.values(), protocol, _SOURCE_ONLY)
    ceiling = _reference(groups.values(), protocol, _ORACLE)
    recipes = [recipe for recipe, _ in groups]
    return [
        _row(
            recipe if recipes.count(recipe) == 1 else f"{recipe} ({steps} steps)",
            runs,
            protocol,
            floor,
            ceiling,
        )
        for (recipe, steps), runs in groups.items()
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


def _number(value: float | None, pattern: str = "{:.1f}") -> str:
    return "–" if value is None else pattern.format(value)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def _cells(row: Row) -> dict[str, str]:
    """The columns before the classes."""
    return {
        "recipe": row.recipe,
        "seeds": str(row.seeds),
        "mIoU": _number(row.miou) + ("" if row.spread is None else f" ± {row.spread:.1f}"),
        "gain": _number(row.gain, "{:+.1f}"),
        "gap closed": _number(row.gap_closed, "{:.0f} %"),
        "paper's mIoU": "–" if row.reported is None else f"{row.reported:.1f} ({row.paper})",
        "time": _time(row.seconds),
        "memory": "–" if not row.peak_memory_mb else f"{row.peak_memory_mb / 1024:.1f} GiB",
    }


def _classes(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.per_class))


def markdown(rows: Sequence[Row]) -> str:
    """A GitHub table with one line a recipe and every class as a column; empty without rows."""
    if not rows:
        return ""
    classes = _classes(rows)
    heads = [*_cells(rows[0]), *classes]
    rule = ["---", *["---:"] * (len(heads) - 1)]
    lines = [heads, rule]
    for row in rows:
        lines.append([*_cells(row).values(), *(_number(row.per_class.get(name)) for name in classes)])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def rich_table(rows: Sequence[Row], title: str = "") -> Table:
    """One line a recipe: mIoU, gain, the paper's number and the cost, without empty columns; the best mIoU is bold.

    The oracle trains on target labels, so it is never the best.
    """
    table = Table(title=title or None)
    lines = [_cells(row) for row in rows]
    columns = [name for name in lines[0] if any(line[name] != "–" for line in lines)] if lines else []
    for column in columns:
        recipe = column == "recipe"
        table.add_column(column, justify="left" if recipe else "right", no_wrap=recipe, overflow="fold")
    best = max((row.miou for row in rows if row.miou is not None and row.method not in _ORACLE), default=None)
    for row, cells in zip(rows, lines, strict=True):
        if len(rows) > 1 and row.miou == best and row.method not in _ORACLE:
            cells["mIoU"] = f"[bold]{cells['mIoU']}[/bold]"
        table.add_row(*(cells[column] for column in columns))
    return table


def class_table(rows: Sequence[Row], title: str = "IoU per class, percent") -> Table:
    """One line a class and one column a recipe, so that 19 classes fit a terminal."""
    table = Table(title=title)
    table.add_column("class")
    for row in rows:
        table.add_column(row.recipe.replace("_", " "), justify="right")
    for name in _classes(rows):
        table.add_row(name, *(_number(row.per_class.get(name)) for row in rows))
    return table


def terminal_tables(rows: Sequence[Row], title: str) -> list[Table]:
    """Scores and per-class IoU as two tables; none without rows."""
    return [rich_table(rows, title), class_table(rows)] if rows else []
