"""Where a run's parameters, metrics and files are sent: MLflow or nowhere; `metrics.jsonl` is always written."""

import json
import time
from pathlib import Path
from typing import Any, Protocol

from da_toolkit.errors import UserError
from da_toolkit.training.provenance import disk_error


class Tracker(Protocol):
    """A place that collects runs."""

    def start(self, experiment: str, run_name: str, parameters: dict[str, Any], tags: dict[str, str]) -> None:
        """Open a run. Raises `UserError` if the place cannot be reached."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Numbers after `step` optimiser steps."""

    def table(self, name: str, columns: dict[str, list]) -> None:
        """A small table, such as IoU per class."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a file."""

    def finish(self, status: str) -> None:
        """Close the run as "FINISHED", "FAILED" or "KILLED"."""


class NoTracker:
    """Sends nothing, and never imports mlflow."""

    def start(self, experiment: str, run_name: str, parameters: dict[str, Any], tags: dict[str, str]) -> None: ...

    def metrics(self, values: dict[str, float], step: int) -> None: ...

    def table(self, name: str, columns: dict[str, list]) -> None: ...

    def artifact(self, path: Path, folder: str = "") -> None: ...

    def finish(self, status: str) -> None: ...


def make_tracker(place: str, runs: Path) -> Tracker:
    """The tracker of `--tracking`.

    Args:
        place: "mlflow" (SQLite file `mlflow.db` in the runs folder), "none", or the URI of an MLflow server or
            store such as http://127.0.0.1:5000.
        runs: the folder that holds all runs.

    Raises:
        UserError: anything else.
    """
    if place == "none":
        return NoTracker()
    if place != "mlflow" and "://" not in place:
        raise UserError(
            f"--tracking {place!r} is neither 'mlflow', 'none' nor the URI of an MLflow server such as "
            "http://127.0.0.1:5000."
        )
    from da_toolkit.training.mlflow_tracking import MLflowTracker

    return MLflowTracker(place, runs)


class MetricsFile:
    """Appends one JSON line a report to `metrics.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, values: dict[str, float], step: int) -> None:
        """Raises `UserError` naming the folder if the disk refuses."""
        line = json.dumps({"step": step, "time": round(time.time(), 3), **values})
        try:
            with self.path.open("a") as file:
                file.write(line + "\n")
        except OSError as error:
            raise disk_error(self.path.parent, error) from error
