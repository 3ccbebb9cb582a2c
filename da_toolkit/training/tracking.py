"""Where a run's parameters, metrics and files go: MLflow or nowhere; `metrics.jsonl` is always written."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any, Protocol

from da_toolkit.training.address import address_of
from da_toolkit.training.files import disk_error
from da_toolkit.training.spool_tracker import SpoolTracker


class Tracker(Protocol):
    """A place that collects runs. No method waits for it; all but `finish` raise `UserError` for a full disk."""

    def start(self, experiment: str, run_name: str, parameters: dict[str, Any], tags: dict[str, str]) -> None:
        """Open a run."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Numbers after `step` optimiser steps."""

    def table(self, name: str, columns: dict[str, list]) -> None:
        """A small table, such as IoU per class; replaces an earlier one of that name."""

    def picture(self, path: Path) -> None:
        """Keep a copy of an image file under pictures/."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a file, by default at the top."""

    def finish(self, status: str) -> None:
        """Close the run as "FINISHED", "FAILED" or "KILLED"; does nothing if it never started."""


class NoTracker:
    """Sends nothing, and never imports mlflow."""

    def start(self, experiment: str, run_name: str, parameters: dict[str, Any], tags: dict[str, str]) -> None: ...

    def metrics(self, values: dict[str, float], step: int) -> None: ...

    def table(self, name: str, columns: dict[str, list]) -> None: ...

    def picture(self, path: Path) -> None: ...

    def artifact(self, path: Path, folder: str = "") -> None: ...

    def finish(self, status: str) -> None: ...


def make_tracker(place: str, folder: Path, resumes: bool = False) -> Tracker:
    """The tracker of `--tracking`.

    Args:
        place: "mlflow" (SQLite file `mlflow.db` in the runs folder, files in `mlartifacts` beside it),
            "none", the address of an MLflow server such as http://127.0.0.1:5000, or another SQLite file
            (sqlite:///PATH).
        folder: the run's own, RUNS/RECIPE/SEED.
        resumes: whether the run goes on from a checkpoint, and so in the same MLflow run.

    Raises:
        UserError: anything else, or a malformed address. A server that is down is no error.
    """
    if place == "none":
        return NoTracker()
    return SpoolTracker(place, address_of(place, folder.parent.parent), folder, resumes)


class MetricsFile:
    """Appends one JSON line a report to `metrics.jsonl`: step, time (Unix seconds), then the values."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Forget all but the first `size` bytes."""
        if self.path.exists():
            os.truncate(self.path, size)

    def write(self, values: dict[str, float], step: int) -> None:
        """NaN and infinity become null, as JSON has neither. Raises `UserError` if the disk refuses."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"step": step, "time": round(time.time(), 3), **finite})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise disk_error(self.path.parent, error) from error
