"""Runs in MLflow; the only file that imports it."""

import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent that the user did not ask for
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from da_toolkit.errors import UserError

_PARAMETERS_PER_CALL, _VALUE_LENGTH = 100, 6000  # MLflow's limits


class MLflowTracker:
    """Writes through a client of its own, so no global MLflow state is touched."""

    def __init__(self, place: str, runs: Path) -> None:
        self.place = place
        self.local = place == "mlflow"
        runs.mkdir(parents=True, exist_ok=True)
        self.uri = f"sqlite:///{(runs / 'mlflow.db').resolve()}" if self.local else place
        self.artifacts = (runs / "mlartifacts").resolve().as_uri() if self.local else None
        self.run_id = ""

    def start(self, experiment: str, run_name: str, parameters: dict[str, Any], tags: dict[str, str]) -> None:
        limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
        before = {name: os.environ.get(name) for name in limits}
        os.environ.update(limits)  # a wrong address shall fail in seconds, a busy server later may take longer
        try:
            self.client = MlflowClient(tracking_uri=self.uri)
            known = self.client.get_experiment_by_name(experiment)
            number = known.experiment_id if known else self.client.create_experiment(experiment, self.artifacts)
            self.run_id = self.client.create_run(number, run_name=run_name, tags=tags).info.run_id
        except (MlflowException, OSError) as error:
            raise UserError(
                f"--tracking {self.place}: MLflow at {self.uri} cannot be used ({str(error).splitlines()[0]}). Check the "
                "address and that the server runs, or pass --tracking none."
            ) from error
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        entries = [Param(name, str(value)[:_VALUE_LENGTH]) for name, value in parameters.items()]
        for first in range(0, len(entries), _PARAMETERS_PER_CALL):
            self.client.log_batch(self.run_id, params=entries[first : first + _PARAMETERS_PER_CALL])

    def metrics(self, values: dict[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(self.run_id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def table(self, name: str, columns: dict[str, list]) -> None:
        self.client.log_table(self.run_id, columns, f"{name}.json")

    def artifact(self, path: Path, folder: str = "") -> None:
        self.client.log_artifact(self.run_id, str(path), folder or None)

    def finish(self, status: str) -> None:
        if self.run_id:
            self.client.set_terminated(self.run_id, status)
