"""Runs in MLflow; the only file that imports it."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent that the user did not ask for
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # a new SQLite file is no news
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS
from sqlalchemy.exc import SQLAlchemyError

from da_toolkit.errors import UserError
from da_toolkit.training.provenance import disk_error

# MLflow's limits, in entries a call and in characters
PARAMETERS_PER_CALL, METRICS_PER_CALL, NAME_LENGTH, VALUE_LENGTH = 100, 1000, 250, 6000
_FAILURES = (MlflowException, OSError, SQLAlchemyError)  # requests' errors are OSErrors
_TRY_ONCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


class MLflowTracker:
    """Writes through a client of its own, so no global MLflow state is touched.

    A store that fails after `start` is given up with one warning: hours of training outweigh a lost plot, and
    `metrics.jsonl` holds the same numbers.
    """

    def __init__(self, place: str, runs: Path) -> None:
        """Raises `UserError` if the folder of a local store cannot be made."""
        self.place = place
        self.uri = f"sqlite:///{(runs / 'mlflow.db').resolve()}" if place == "mlflow" else place
        self.artifacts: str | None = None  # a server decides itself
        if self.uri.startswith("sqlite:///"):
            folder = Path(self.uri.removeprefix("sqlite:///")).resolve().parent
            self.artifacts = (folder / "mlartifacts").as_uri()
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise disk_error(folder, error) from error
        self.run_id = ""
        self.lost = False
        self.tables: list[str] = []

    def start(self, experiment: str, run_name: str, parameters: dict[str, Any], tags: dict[str, str]) -> None:
        """Raises `UserError` within seconds if the address is wrong. Values are cut to MLflow's limits."""
        entries = [Param(_name(name), str(value)[:VALUE_LENGTH]) for name, value in parameters.items()]
        try:
            with _environment(_TRY_ONCE):  # a busy server may take longer later on
                self.client = MlflowClient(tracking_uri=self.uri)
                number = self._experiment(experiment)
                self.run_id = self.client.create_run(number, run_name=run_name, tags=tags).info.run_id
                for first in range(0, len(entries), PARAMETERS_PER_CALL):
                    self.client.log_batch(self.run_id, params=entries[first : first + PARAMETERS_PER_CALL])
        except _FAILURES as error:
            raise UserError(
                f"--tracking {self.place}: MLflow at {self.uri} cannot be used ({_first_line(error)}). Check "
                "the address and that the server runs, or pass --tracking none."
            ) from error

    def _experiment(self, name: str) -> str:
        if known := self.client.get_experiment_by_name(name):
            return known.experiment_id
        try:
            return self.client.create_experiment(name, self.artifacts)
        except MlflowException:  # another run made it meanwhile
            if known := self.client.get_experiment_by_name(name):
                return known.experiment_id
            raise

    def metrics(self, values: dict[str, float], step: int) -> None:
        """At most 1000 numbers a call go to MLflow; more are split."""
        now = int(time.time() * 1000)
        entries = [Metric(_name(name), value, now, step) for name, value in values.items()]
        for first in range(0, len(entries), METRICS_PER_CALL):
            part = entries[first : first + METRICS_PER_CALL]
            self._send(self.client.log_batch, self.run_id, metrics=part)

    def table(self, name: str, columns: dict[str, list]) -> None:
        """Kept as `NAME.json`; `MlflowClient.load_table` and the UI read it."""
        self._send(self._table, f"{name}.json", columns)

    def _table(self, file: str, columns: dict[str, list]) -> None:
        # MlflowClient.log_table would append to the earlier table, so every class would repeat.
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        self.client.log_dict(self.run_id, {"columns": list(columns), "data": rows}, file)
        if file not in self.tables:
            self.tables.append(file)
            tag = json.dumps([{"path": path, "type": "table"} for path in self.tables])
            self.client.set_tag(self.run_id, MLFLOW_LOGGED_ARTIFACTS, tag)

    def picture(self, path: Path) -> None:
        self.artifact(path, "pictures")

    def artifact(self, path: Path, folder: str = "") -> None:
        self._send(self.client.log_artifact, self.run_id, str(path), folder or None)

    def finish(self, status: str) -> None:
        if self.run_id:
            self._send(self.client.set_terminated, self.run_id, status)

    def _send(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        if self.lost:
            return
        try:
            call(*arguments, **named)
        except _FAILURES as error:
            self.lost = True
            print(
                f"warning: MLflow at {self.uri} failed ({_first_line(error)}); nothing more is sent there. "
                "The run goes on, and metrics.jsonl in its folder has every number.",
                file=sys.stderr,
            )


def _name(name: str) -> str:
    """`name` with the characters and the length that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:NAME_LENGTH]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while; what the user set stays."""
    new = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
