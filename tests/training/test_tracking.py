"""Trackers: nothing, SQLite, and a real MLflow server on loopback."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from da_toolkit.errors import UserError
from da_toolkit.training.tracking import MetricsFile, NoTracker, Tracker, make_tracker

PARAMETERS = {"seed": 3, "model.backbone": "resnet101", "long": "x" * 9000, "odd(name)": True}
MANY = {f"method.terms.{number}.weight": number / 10 for number in range(150)}  # more than one call may carry


def _track(tracker: Tracker, tmp_path: Path) -> None:
    tracker.start("da_toolkit", "adv_rpt_gta/3", {**PARAMETERS, **MANY}, {"recipe": "adv_rpt_gta"})
    tracker.metrics({"seg": 0.9, "adv": 0.002}, 10)
    tracker.metrics({"seg": 0.5, "adv": float("nan")}, 20)
    tracker.table("per_class", {"class": ["road", "car"], "iou": [10.0, 20.0]})
    tracker.table("per_class", {"class": ["road", "car"], "iou": [90.5, 80.25]})
    picture, weights = tmp_path / "step_20.png", tmp_path / "result.json"
    picture.write_bytes(b"png")
    weights.write_text('{"miou": 85.4}')
    tracker.picture(picture)
    tracker.artifact(weights)
    tracker.artifact(weights, "kept/here")
    tracker.finish("FINISHED")


def _check(uri: str, tmp_path: Path) -> None:
    """Read the run back through a client of its own."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("da_toolkit").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.run_name == "adv_rpt_gta/3"
    assert run.info.status == "FINISHED"
    assert run.data.tags["recipe"] == "adv_rpt_gta"
    parameters = run.data.params
    assert len(parameters) == len(PARAMETERS) + len(MANY)
    assert parameters["seed"] == "3"
    assert parameters["model.backbone"] == "resnet101"
    assert parameters["odd_name_"] == "True"
    assert parameters["long"] == "x" * 6000
    assert parameters["method.terms.149.weight"] == "14.9"
    history = client.get_metric_history(run.info.run_id, "seg")
    assert [(point.step, point.value) for point in history] == [(10, 0.9), (20, 0.5)]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "kept", "per_class.json", "pictures", "result.json",
    }  # fmt: skip
    picture = client.download_artifacts(run.info.run_id, "pictures/step_20.png", str(tmp_path))
    assert Path(picture).read_bytes() == b"png"
    kept = client.download_artifacts(run.info.run_id, "kept/here/result.json", str(tmp_path))
    assert json.loads(Path(kept).read_text()) == {"miou": 85.4}
    # load_table searches at the global address, so its two halves are checked: the tag it finds and the file
    table = client.download_artifacts(run.info.run_id, "per_class.json", str(tmp_path))
    rows = [["road", 90.5], ["car", 80.25]]  # the later table replaced the earlier one
    assert json.loads(Path(table).read_text()) == {"columns": ["class", "iou"], "data": rows}
    tables = json.loads(run.data.tags["mlflow.loggedArtifacts"])
    assert tables == [{"path": "per_class.json", "type": "table"}]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """A real MLflow server with its store in `tmp_path`."""
    home = tmp_path / "server"
    home.mkdir()
    address = f"http://127.0.0.1:{(port := _free_port())}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{home}/store.db",
        "--artifacts-destination", str(home / "files"), "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    with (home / "log.txt").open("w") as log:
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=2):
                    break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (home / "log.txt").read_text()
                time.sleep(0.5)
        else:
            pytest.fail((home / "log.txt").read_text())
        yield address, process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen) -> None:
    """End the server and its workers: it leads a process group of its own."""
    if process.poll() is None:
        os.killpg(process.pid, 15)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait(10)


def test_server(
    server: tuple[str, subprocess.Popen],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, process = server
    monkeypatch.chdir(tmp_path)
    _track(make_tracker(address, tmp_path / "runs"), tmp_path)
    _check(address, tmp_path / "server")
    assert not (tmp_path / "mlruns").exists()
    assert not (tmp_path / "runs").exists()

    orphan = make_tracker(address, tmp_path / "runs")
    orphan.start("da_toolkit", "orphan", {}, {})
    _stop(process)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for step in range(3):
        orphan.metrics({"seg": 1.0}, step)
    orphan.finish("FINISHED")
    assert capsys.readouterr().err.count("metrics.jsonl in its folder has every number") == 1


def test_sqlite_beside_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = Path("results/runs")
    _track(make_tracker("mlflow", runs), tmp_path)
    assert {file.name for file in runs.iterdir()} == {"mlflow.db", "mlartifacts"}
    assert not (tmp_path / "mlruns").exists()
    _check(f"sqlite:///{runs / 'mlflow.db'}", tmp_path / "results")


def test_failed_run_is_marked_and_the_next_joins_the_experiment(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/own.db"
    for status in ("FAILED", "KILLED"):
        tracker = make_tracker(uri, tmp_path / "unused")
        tracker.start("da_toolkit", status.lower(), {}, {})
        tracker.finish(status)
    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("da_toolkit").experiment_id])
    assert {run.info.run_name: run.info.status for run in runs} == {"failed": "FAILED", "killed": "KILLED"}
    assert not (tmp_path / "unused").exists()


def test_unreachable_server_fails_within_seconds(tmp_path: Path) -> None:
    tracker = make_tracker(f"http://127.0.0.1:{_free_port()}", tmp_path)
    begin = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be used.*--tracking none"):
        tracker.start("da_toolkit", "run", {}, {})
    assert time.monotonic() - begin < 20
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ
    tracker.finish("FAILED")  # nothing was opened, nothing to close


@pytest.mark.parametrize("place", ["wandb", "", "ftp://somewhere", "None"])
def test_unknown_place_lists_the_valid_ones(place: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'mlflow'.*'none'.*http://127\.0\.0\.1:5000.*sqlite:///"):
        make_tracker(place, tmp_path)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        make_tracker("mlflow", tmp_path / "file" / "runs")


def test_none_imports_neither_mlflow_nor_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from da_toolkit.training.tracking import make_tracker\n"
        f"tracker = make_tracker('none', Path({str(tmp_path)!r}))\n"
        "tracker.start('e', 'r', {}, {}); tracker.metrics({'a': 1.0}, 1); tracker.finish('FINISHED')\n"
        "assert not {'mlflow', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert isinstance(make_tracker("none", tmp_path), NoTracker)
    assert list(tmp_path.iterdir()) == []


def test_metrics_file(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    before = time.time()
    MetricsFile(path).write({"seg": 0.5}, 10)
    MetricsFile(path).write({"seg": float("nan"), "adv": float("inf"), "miou_19": 41.5}, 20)  # a resumed run appends
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert before - 1 < first.pop("time") <= second.pop("time") < time.time() + 1
    assert first == {"step": 10, "seg": 0.5}
    assert second == {"step": 20, "seg": None, "adv": None, "miou_19": 41.5}


def test_metrics_file_names_the_folder_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=str(tmp_path)):
        MetricsFile(tmp_path / "metrics.jsonl").write({}, 1)
