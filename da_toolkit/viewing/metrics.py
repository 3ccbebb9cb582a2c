"""What `metrics.jsonl` tells of a run so far: curves, stages, warnings."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from da_toolkit.viewing.reading import number_of, step_of, text_of

Kind = Literal["score", "loss", "knowledge", "other"]
Point = tuple[int, float]
SHOWN = 400
"""Points of a curve at most, of which a screen has no more."""
_OTHER = {"images_per_second", "target_top_class"}


@dataclass
class Metrics:
    """A run's reports."""

    curves: dict[Kind, dict[str, list[Point]]] = field(default_factory=dict)
    """Kind -> name -> (step, value) in step order. "knowledge" is what terms report as a stage begins."""
    stages: list[Point] = field(default_factory=list)
    """(step at which it began, number of the stage from 1)."""
    warnings: list[tuple[int, str]] = field(default_factory=list)
    step: int = 0
    """Of the last report."""
    time: float | None = None
    """Of the last report, Unix seconds."""

    def last(self, kind: Kind) -> dict[str, float]:
        """The last value of each curve."""
        return {name: points[-1][1] for name, points in self.curves.get(kind, {}).items()}


def read_metrics(file: Path, problems: list[str]) -> Metrics:
    """The reports in a file. A last line that is still being written waits; other lines that are no report are told.

    Of a step that was reported twice, as after a crash, the later value counts.
    """
    metrics, found, bad = Metrics(), dict[tuple[Kind, str], dict[int, float]](), list[int]()
    text = text_of(file, problems) or ""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            if number < len(lines):  # no line break follows the last one yet
                bad.append(number)
            continue
        if values is None:
            continue
        step = step_of(values.get("step")) if isinstance(values, dict) else None
        if step is None:
            bad.append(number)
            continue
        metrics.step, metrics.time = max(metrics.step, step), number_of(values.get("time")) or metrics.time
        if isinstance(told := values.get("warning"), str):
            metrics.warnings.append((step, told))
        begins = number_of(values.get("stage"))
        if begins is not None:
            metrics.stages.append((step, begins))
        for name, value in values.items():
            if name not in ("step", "time", "stage") and (known := number_of(value)) is not None:
                found.setdefault((_kind(name, begins is not None), name), {})[step] = known
    if bad:
        problems.append(f"{file.name}: {len(bad)} lines are damaged and left out, the first is line {bad[0]}.")
    for (kind, name), points in sorted(found.items(), key=lambda entry: entry[0]):
        metrics.curves.setdefault(kind, {})[name] = sorted(points.items())
    return metrics


def _kind(name: str, begins: bool) -> Kind:
    if name.startswith(("miou_", "validator_")):
        return "score"
    if name in _OTHER:
        return "other"
    return "knowledge" if begins else "loss"


def thinned(points: Sequence[Point], most: int = SHOWN) -> list[Point]:
    """At most `most` of the points: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(points) <= most:
        return list(points)
    stretches = most // 2
    kept = []
    for place in range(stretches):
        stretch = points[place * len(points) // stretches : (place + 1) * len(points) // stretches]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept
