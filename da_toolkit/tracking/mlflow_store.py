"""Runs in MLflow; the only file that imports it."""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent that the user did not ask for
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # a new SQLite file is no news
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # seconds without an answer
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the sender tries again itself
import pandas
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.models.signature import ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types.schema import ColSpec, Schema
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS
from PIL import Image

from da_toolkit import __version__
from da_toolkit.tracking.spool import Unreachable

# MLflow's limits, in entries a call and in characters
PARAMETERS_PER_CALL, METRICS_PER_CALL, NAME_LENGTH, VALUE_LENGTH = 100, 1000, 250, 6000
KEY_TAG = "da_toolkit.key"


class MLflowStore:
    """Writes through a client of its own, so no global MLflow state is touched.

    Every method may be called again with the same event, and the run is as if it was called once. All raise
    `Unreachable`.
    """

    def __init__(self, address: str) -> None:
        """Opens nothing yet. A server decides where files are kept; beside a SQLite file it is `mlartifacts`."""
        self.address = address
        self.artifacts: str | None = None
        if address.startswith("sqlite:///"):
            self.artifacts = (Path(address.removeprefix("sqlite:///")).parent / "mlartifacts").as_uri()
        self._client: MlflowClient | None = None

    @property
    def client(self) -> MlflowClient:
        if self._client is None:
            self._client = MlflowClient(tracking_uri=self.address)
        return self._client

    def open(self, event: dict[str, Any], run_id: str) -> str:
        """Make the run of a start, or go on with `run_id`, or with one that an interrupted call has made."""
        with _reasons():
            if not run_id:
                experiment = self._experiment(event["experiment"])
                made = self.client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{event['key']}'")
                run_id = made[0].info.run_id if made else ""
            if run_id:
                self.client.update_run(run_id, status="RUNNING")
                return run_id
            tags = {**event["tags"], KEY_TAG: event["key"]}
            begin = _milliseconds(event)
            return self.client.create_run(experiment, begin, tags, event["run_name"]).info.run_id

    def _experiment(self, name: str) -> str:
        if known := self.client.get_experiment_by_name(name):
            return known.experiment_id
        try:
            return self.client.create_experiment(name, self.artifacts)
        except MlflowException:  # another run made it meanwhile
            if known := self.client.get_experiment_by_name(name):
                return known.experiment_id
            raise

    def check(self, run_id: str) -> Run:
        """The run, if MLflow answers and still has it."""
        with _reasons():
            run = self.client.get_run(run_id)
            if run.info.lifecycle_stage != "active":
                raise Unreachable(f"the run {run_id} was deleted there")
            return run

    def parameters(self, run_id: str, values: dict[str, str]) -> None:
        """Values are cut to MLflow's limits. Those it has already stay: it never changes one."""
        known = self.check(run_id).data.params
        named = {_name(name): value[:VALUE_LENGTH] for name, value in values.items()}
        entries = [Param(name, value) for name, value in named.items() if name not in known]
        with _reasons():
            for first in range(0, len(entries), PARAMETERS_PER_CALL):
                part = entries[first : first + PARAMETERS_PER_CALL]
                self.client.log_batch(run_id, params=part, synchronous=True)

    def metrics(self, run_id: str, events: list[dict[str, Any]]) -> None:
        """At most 1000 numbers a call go to MLflow; more are split. The same number twice is kept once."""
        entries = [
            Metric(_name(name), value, _milliseconds(event), event["step"])
            for event in events
            for name, value in event["values"].items()
        ]
        with _reasons():
            for first in range(0, len(entries), METRICS_PER_CALL):
                part = entries[first : first + METRICS_PER_CALL]
                self.client.log_batch(run_id, metrics=part, synchronous=True)

    def table(self, run_id: str, name: str, columns: dict[str, list]) -> None:
        """Kept as `NAME.json`; `MlflowClient.load_table` and the UI read it."""
        # MlflowClient.log_table would append to the earlier table, so every class would repeat.
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        file = f"{name}.json"
        known = json.loads(self.check(run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
        with _reasons():
            self.client.log_dict(run_id, {"columns": list(columns), "data": rows}, file)
            entry = {"path": file, "type": "table"}
            if entry not in known:
                self.client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps([*known, entry]))

    def file(self, run_id: str, path: Path, folder: str) -> None:
        """A later file of the same name replaces an earlier one."""
        with _reasons():
            self.client.log_artifact(run_id, str(path), folder or None)

    def model(self, run_id: str, folder: Path) -> None:
        """The network in `folder` as the artifact `model`, which `mlflow models serve` answers with.

        A request is a data frame with the column `image`, encoded pictures; the answer has `train_ids`, PNG files.
        """
        signature = ModelSignature(Schema([ColSpec("binary", "image")]), Schema([ColSpec("binary", "train_ids")]))
        with _reasons(), tempfile.TemporaryDirectory() as temporary:
            data, place = Path(temporary) / "network", Path(temporary) / "model"
            data.mkdir()
            for name in ("recipe.json", "model.safetensors"):
                (data / name).symlink_to((folder / name).resolve())  # copied by MLflow
            save_model(
                path=str(place),
                loader_module="da_toolkit.exporting.served",
                data_path=str(data),
                signature=signature,
                input_example=pandas.DataFrame({"image": [_example()]}),
                pip_requirements=[f"da_toolkit=={__version__}"],
            )
            self.client.log_artifacts(run_id, str(place), "model")

    def close(self, run_id: str, status: str, event: dict[str, Any]) -> None:
        """End the run as "FINISHED", "FAILED" or "KILLED" at the time of `event`."""
        with _reasons():
            self.client.set_terminated(run_id, status, _milliseconds(event))


def _example() -> bytes:
    """A grey picture as a PNG file, for a request to be tried with."""
    with BytesIO() as file:
        Image.new("RGB", (64, 32), (128, 128, 128)).save(file, "PNG")
        return file.getvalue()


def _milliseconds(event: dict[str, Any]) -> int:
    return round(event["time"] * 1000)


def _name(name: str) -> str:
    """`name` with the characters and the length that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:NAME_LENGTH]


@contextmanager
def _reasons() -> Iterator[None]:
    """Whatever goes wrong becomes `Unreachable`."""
    try:
        yield
    except Unreachable:
        raise
    except Exception as error:  # databases and the stores of files raise types of their own
        raise Unreachable((str(error).splitlines() or [type(error).__name__])[0]) from error
