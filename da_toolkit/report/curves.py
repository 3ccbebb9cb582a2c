"""Learning curves: mIoU, or another number, against optimiser steps as an inline SVG picture."""

import html
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from da_toolkit.report.runs import Run

# Ten colours that stay apart for most colour-blind readers (Tableau's); further lines are dashed.
COLORS = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2"),
    *("#b07aa1", "#9c755f", "#edc948", "#ff9da7", "#79706e"),
)
_DASHES = ("", "6 4", "2 3", "9 3 2 3")
_WIDTH, _HEIGHT = 860, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 30, 14, 44
_MARKED = 60
"""Points of a line that are marked one by one, each telling its value; of more, the line alone is drawn."""


@dataclass(frozen=True)
class Curve:
    """One recipe's mIoU in percent, or another number, by step, for each of its seeds."""

    name: str
    seeds: tuple[tuple[tuple[int, float], ...], ...]
    """(step, number) in step order."""

    def mean(self) -> list[tuple[int, float]]:
        """Mean over seeds at the steps at which every seed was evaluated."""
        tables = [dict(points) for points in self.seeds]
        shared = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
        return [(step, statistics.mean(table[step] for table in tables)) for step in shared]


def curve_of(name: str, runs: Iterable[Run], protocol: str) -> Curve:
    """A recipe's curve: the mIoU under a protocol of its runs' evaluations, those that were not scored so left out."""
    looks = [[(e.step, miou) for e in run.evaluations if (miou := e.miou.get(protocol)) is not None] for run in runs]
    return Curve(name, tuple(map(tuple, looks)))


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers from at most `low` to at least `high`, in steps of 1, 2 or 5 times a power of ten."""
    span = max((high - low) or 1.0, 1e-9 * abs(high))  # of less, floats know no steps
    power = 10 ** math.floor(math.log10(span / about))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def style(number: int) -> tuple[str, str]:
    """Colour and dash pattern of line `number`."""
    return COLORS[number % len(COLORS)], _DASHES[number // len(COLORS) % len(_DASHES)]


def curve_svg(curves: Sequence[Curve], what: str = "mIoU in percent", form: str = ".1f") -> str:
    """Thick lines are means over seeds, thin lines single seeds; empty unless a run was evaluated twice.

    Each curve is a group `data-curve=NUMBER`, so that a page can hide it.

    Args:
        what: the number that is drawn, for those who hear the page.
        form: how its values are told.
    """
    points = [point for curve in curves for seed in curve.seeds for point in seed]
    if not any(len(seed) > 1 for curve in curves for seed in curve.seeds):
        return ""
    steps, values = ticks(0, max(step for step, _ in points)), ticks(*_extent([value for _, value in points]))
    told = html.escape(what)
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(step: float) -> float:
        return _LEFT + inner_width * step / steps[-1]

    def y(value: float) -> float:
        return _TOP + inner_height * (values[-1] - value) / (values[-1] - values[0])

    parts = [f'<svg class="curves" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{told} against steps">']
    for value in values:
        height = f"{y(value):.1f}"
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height}" y2="{height}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for step in (step for step in steps if step == round(step)):
        parts.append(f'<text x="{x(step):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{step:,.0f}</text>')
    middle = _LEFT + inner_width / 2
    parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">optimiser steps</text>')
    for number, curve in enumerate(curves):
        color, dash = style(number)
        parts.append(f'<g data-curve="{number}" stroke="{color}" fill="{color}" stroke-dasharray="{dash}">')
        lines = [(seed, "seed") for seed in curve.seeds] if len(curve.seeds) > 1 else []
        for line, kind in [*lines, (curve.mean(), "mean")]:
            path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in line)
            parts.append(f'<polyline class="{kind}" fill="none" points="{path}"/>')
        for step, value in curve.mean() if len(curve.mean()) <= _MARKED else ():
            point = f"{html.escape(curve.name)}: {value:{form}} at step {step}"
            parts.append(f'<circle cx="{x(step):.1f}" cy="{y(value):.1f}" r="3.5"><title>{point}</title></circle>')
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


def _extent(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)
