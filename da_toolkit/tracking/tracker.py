"""Where a run's parameters, metrics and files go: MLflow or nowhere"""

from pathlib import Path
from typing import Any, Protocol

from da_toolkit.tracking.address import address_of
from da_toolkit.tracking.spool_tracker import SpoolTracker


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

    def model(self, folder: Path) -> None:
        """Keep the network of a run's folder (`recipe.json`, `model.safetensors`) so that MLflow can serve it."""

    def finish(self, status: str) -> None:
        """Close the run as "FINISHED", "FAILED" or "KILLED"; does nothing if it never started."""


class NoTracker:
    """Sends nothing, and never imports mlflow."""

    def start(self, experiment: str, run_name: str, parameters: dict[str, Any], tags: dict[str, str]) -> None: ...

    def metrics(self, values: dict[str, float], step: int) -> None: ...

    def table(self, name: str, columns: dict[str, list]) -> None: ...

    def picture(self, path: Path) -> None: ...

    def artifact(self, path: Path, folder: str = "") -> None: ...

    def model(self, folder: Path) -> None: ...

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
