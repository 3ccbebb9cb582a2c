"""All that the page shows of one run, read from its folder."""

import hashlib
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from da_toolkit.data.labels import LABEL_SPACES
from da_toolkit.viewing.classes import AS_TRAINED, class_names, confusion_of, iou_of, scores_of
from da_toolkit.viewing.metrics import Metrics, read_metrics
from da_toolkit.viewing.pictures import of_stages, signature
from da_toolkit.viewing.reading import json_of, list_of, object_of, step_of
from da_toolkit.viewing.settings import settings_of, stages_of

QUIET = 180
"""Seconds without a report after which a run is called quiet: it may have been stopped, or it evaluates."""


@dataclass
class Look:
    """A run's folder as it is now.

    Attributes:
        folder: of the run.
        label: what the page calls it.
        seen: the folder's `signature` when it was read.
        problems: sentences about files that are missing a part or damaged.
    """

    folder: Path
    label: str
    seen: tuple[Any, ...]
    result: dict[str, Any]
    recipe: dict[str, Any]
    processes: list[Any]
    metrics: Metrics
    problems: list[str] = field(default_factory=list)

    @property
    def version(self) -> str:
        """Another one after every change of the folder."""
        return hashlib.sha256(repr((self.seen, self.label)).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @cached_property
    def stages(self) -> list[dict[str, Any]]:
        return stages_of(self.recipe)

    @property
    def steps(self) -> int | None:
        """Of the whole run, if its recipe or result says."""
        return sum(stage["steps"] for stage in self.stages) or step_of(self.result.get("steps"))

    @property
    def step(self) -> int:
        return max(self.metrics.step, step_of(self.result.get("steps")) or 0) if self.scores else self.metrics.step

    @cached_property
    def scores(self) -> dict[str, dict[str, Any]]:
        """By protocol, of a finished run."""
        return scores_of(self.result)

    @property
    def method(self) -> str:
        named = self.result.get("method")
        recipe_method = str(object_of(self.recipe.get("method")).get("class", ""))
        return named if isinstance(named, str) else recipe_method.rpartition(".")[2]

    @property
    def miou(self) -> dict[str, float | None]:
        """Protocol -> percent, of the result or else the last evaluation."""
        logged = {n[5:]: value for n, value in self.metrics.last("score").items() if n.startswith("miou_")}
        return {name: scores["miou"] for name, scores in self.scores.items()} or dict(logged)

    @property
    def stage(self) -> str:
        """The name of the stage that the run is in."""
        if not self.metrics.stages:
            return ""
        number = int(self.metrics.stages[-1][1])
        return self.stages[number - 1]["name"] if 0 < number <= len(self.stages) else f"stage {number}"

    def state(self, now: float) -> str:
        """ "finished", "training", "quiet", or "unreadable" if nothing in it is known to be of a run."""
        if self.scores:
            return "finished"
        if not self.stages and self.metrics.time is None:
            return "unreadable"
        written = max((entry[1] for entry in self.seen), default=0) / 1e9
        return "training" if now - written < QUIET else "quiet"

    def summary(self) -> dict[str, Any]:
        """A line of the list of runs."""
        now = time.time()
        return {
            "label": self.label,
            "folder": str(self.folder),
            "version": self.version,
            "state": self.state(now),
            "method": self.method,
            "stage": self.stage,
            "step": self.step,
            "steps": self.steps,
            "miou": self.miou,
            "age": None if self.metrics.time is None else max(0.0, now - self.metrics.time),
            "warnings": len(self.metrics.warnings) + len(self.problems),
        }

    def details(self) -> dict[str, Any]:
        """Everything but curves and pictures to compare, which are made of several runs."""
        problems: list[str] = []
        names, matrix = confusion_of(self.folder, self.result, self.recipe, problems)
        classes = {protocol: scores["per_class"] for protocol, scores in self.scores.items()}
        if matrix:
            classes.setdefault(AS_TRAINED, iou_of(names, matrix))
        return {
            "version": self.version,
            "stages": self.stages,
            "begun": self.metrics.stages,
            "step": self.step,
            "classes": classes,
            "colors": self._colors(names),
            "confusion": {"classes": names, "matrix": matrix},
            "pictures": of_stages(self.folder, [stage["name"] for stage in self.stages]),
            "warnings": self.metrics.warnings,
            "problems": [*self.problems, *problems],
            "settings": settings_of(self.recipe, self.processes),
        }

    def _colors(self, names: list[str]) -> dict[str, str]:
        """Class -> #rrggbb, as far as the recipe's label space tells."""
        labels = object_of(self.recipe.get("target")).get("labels")
        known: list[Any] = []
        if isinstance(labels, str) and labels in LABEL_SPACES:
            known = list(LABEL_SPACES[labels].palette)
        elif isinstance(labels, dict):
            known = [list_of(color) for color in list_of(labels.get("palette"))]
        trained = class_names(self.recipe)
        return {
            name: "#{:02x}{:02x}{:02x}".format(*color)
            for name, color in zip(trained, known, strict=False)
            if len(color) == 3 and all(type(part) is int and 0 <= part <= 255 for part in color)
        }


def look_at(folder: Path, label: str) -> Look:
    """Read a run's folder. Never raises for what is in it."""
    problems: list[str] = []
    seen = signature(folder)  # first: what is written while the rest is read is then read once more
    return Look(
        folder,
        label,
        seen,
        json_of(folder / "result.json", dict, problems),
        json_of(folder / "recipe.json", dict, problems),
        json_of(folder / "environment.json", list, problems),
        read_metrics(folder / "metrics.jsonl", problems),
        problems,
    )
