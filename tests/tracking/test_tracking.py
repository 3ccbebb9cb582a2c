"""Trackers: nothing, SQLite, and a real MLflow server on loopback."""

import errno
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from da_toolkit.commands.track import sync
from da_toolkit.errors import UserError
from da_toolkit.methods import SourceOnly
from da_toolkit.runs.lock import locked
from da_toolkit.runs.metrics_file import MetricsFile
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.shareable import without_password
from da_toolkit.tracking import spool_tracker
from da_toolkit.tracking.spool import Sent, Spool
from da_toolkit.tracking.spool_tracker import SpoolTracker
from da_toolkit.tracking.tracker import NoTracker, Tracker, make_tracker

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


class Server:
    """A real MLflow server on a free port, with its store in `home`; it can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, _free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Returns when it answers; does nothing if it runs."""
        if self.process:
            return
        command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self.home}/store.db",
            "--artifacts-destination", str(self.home / "files"), "--host", "127.0.0.1",
            "--port", str(self.port), "--workers", "1",
        ]  # fmt: skip
        said = self.home / "log.txt"
        with said.open("a") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.home,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                assert self.process.poll() is None, said.read_text()
                time.sleep(0.5)
        pytest.fail(said.read_text())

    def kill(self) -> None:
        """End the server and its workers, which are a process group of their own, without a word."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None


@pytest.fixture(scope="module")
def a_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def server(a_server: Server) -> Server:
    """Running, at least when the test begins."""
    a_server.start()
    return a_server


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run waits as long as a busy machine needs."""
    monkeypatch.setattr(spool_tracker, "FINISH_WAIT", 60.0)


def _runs(address: str, experiment: str) -> list:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=address)
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def _points(address: str, experiment: str, name: str = "seg") -> list[tuple[int, float]]:
    """Steps and values of a metric of the experiment's only run."""
    from mlflow import MlflowClient

    (run,) = _runs(address, experiment)
    history = MlflowClient(tracking_uri=address).get_metric_history(run.info.run_id, name)
    return [(point.step, point.value) for point in history]


def _wait_until(done: Callable[[], bool]) -> None:
    for _ in range(600):
        if done():
            return
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def _wait_until_sent(folder: Path, address: str) -> None:
    _wait_until(lambda: Sent.load(folder, address).kept(Spool(folder)) == 0)


@pytest.mark.usefixtures("patient")
def test_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _track(make_tracker(server.address, tmp_path / "runs" / "adv_rpt_gta" / "3"), tmp_path)
    _check(server.address, tmp_path)
    assert not (tmp_path / "mlruns").exists()
    assert {path.name for path in (tmp_path / "runs").rglob("*")} == {
        "adv_rpt_gta", "3", "tracking.jsonl", "tracking.sent",
    }  # fmt: skip


@pytest.mark.usefixtures("patient")
def test_a_server_killed_and_restarted_gets_everything_once_and_in_order(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "runs" / "tiny" / "0"
    tracker = make_tracker(server.address, folder)
    tracker.start("killed", "tiny/0", {"seed": 0}, {})
    for step in range(10):
        tracker.metrics({"seg": step / 10}, step)
    _wait_until_sent(folder, server.address)
    server.kill()
    for step in range(10, 20):
        tracker.metrics({"seg": step / 10}, step)
    time.sleep(3)  # long enough for the sender to fail twice
    assert Sent.load(folder, server.address).kept(Spool(folder)) == 10
    server.start()
    for step in range(20, 30):
        tracker.metrics({"seg": step / 10}, step)
    tracker.finish("FINISHED")
    assert Sent.load(folder, server.address).kept(Spool(folder)) == 0
    assert _points(server.address, "killed") == [(step, step / 10) for step in range(30)]
    assert _runs(server.address, "killed")[0].info.status == "FINISHED"
    said = capsys.readouterr().err
    assert said.count("warning") == said.count("cannot be reached") == 1


def test_a_server_down_during_the_whole_run_gets_it_from_sync(
    a_server: Server, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_server.kill()
    folder = tmp_path / "runs" / "tiny" / "0"
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", None)  # the training process has no use for one
        tracker = make_tracker(a_server.address, folder)
        tracker.start("down", "tiny/0", PARAMETERS, {})
        for step in range(5):
            tracker.metrics({"seg": 1.0, "adv": float("nan")}, step)
        vanishes, changes = folder / "vanishes.png", folder / "changes.png"
        vanishes.write_bytes(b"png")
        changes.write_bytes(b"old")
        tracker.picture(vanishes)
        tracker.picture(changes)
        tracker.finish("FINISHED")
    vanishes.unlink()
    changes.write_bytes(b"new")
    said = capsys.readouterr().err
    assert f"10 tracking events are not with MLflow at {a_server.address} yet" in said
    command = f"python -m da_toolkit.track sync {folder}"
    assert command in said
    with pytest.raises(UserError, match=r"cannot be used.*10 events are still kept.*server runs"):
        sync(folder)

    a_server.start()
    for expected in ("10 events sent", "nothing was left to send"):
        done = subprocess.run([sys.executable, *command.split()[1:]], capture_output=True, text=True, timeout=120)
        assert done.stdout.strip() == expected, done.stderr
    assert _points(a_server.address, "down") == [(step, 1.0) for step in range(5)]
    (run,) = _runs(a_server.address, "down")
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "3"
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=a_server.address)
    assert [file.path for file in client.list_artifacts(run.info.run_id, "pictures")] == ["pictures/changes.png"]
    picture = client.download_artifacts(run.info.run_id, "pictures/changes.png", str(tmp_path))
    assert Path(picture).read_bytes() == b"new"


def test_a_server_that_never_answers_holds_up_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_tracker, "FINISH_WAIT", 5.0)
    folder = tmp_path / "runs" / "tiny" / "0"
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        tracker = make_tracker(f"http://127.0.0.1:{deaf.getsockname()[1]}", folder)
        assert isinstance(tracker, SpoolTracker)
        tracker.start("deaf", "tiny/0", {}, {})
        for step in range(100):
            tracker.metrics({"seg": 1.0}, step)
        tracker.table("per_class", {"class": ["road"], "iou": [1.0]})
        connection, _ = deaf.accept()  # the sender hangs now, in a process of its own
        begin = time.monotonic()
        tracker.metrics({"seg": 1.0}, 100)
        tracker.finish("FINISHED")
        assert time.monotonic() - begin < 29  # less than one call of the sender may take
        assert tracker.sender and tracker.sender.poll() is None
        tracker.sender.kill()
        tracker.sender.wait()
        connection.close()
    assert "105 tracking events are not with MLflow" in capsys.readouterr().err


@pytest.mark.usefixtures("patient")
def test_a_resumed_run_goes_on_in_its_mlflow_run_and_one_begun_anew_does_not(tmp_path: Path) -> None:
    folder, address = tmp_path / "runs" / "tiny" / "0", f"sqlite:///{tmp_path}/own.db"
    for resumes, precision, steps in ((False, "32-true", (10, 20)), (True, "16-mixed", (20, 30))):
        tracker = make_tracker(address, folder, resumes)
        tracker.start("resumed", "tiny/0", {"precision": precision}, {})
        for step in steps:
            tracker.metrics({"seg": 1.0}, step)
        tracker.table(f"after_{steps[-1]}", {"class": ["road"], "iou": [1.0]})
        tracker.finish("KILLED" if not resumes else "FINISHED")
    assert _points(address, "resumed") == [(10, 1.0), (20, 1.0), (20, 1.0), (30, 1.0)]  # 20 came again
    (run,) = _runs(address, "resumed")
    assert (run.info.status, run.data.params) == ("FINISHED", {"precision": "32-true"})
    tables = [table["path"] for table in json.loads(run.data.tags["mlflow.loggedArtifacts"])]
    assert tables == ["after_20.json", "after_30.json"]
    anew = make_tracker(address, folder)
    anew.start("resumed", "tiny/0", {}, {})
    anew.finish("FAILED")
    assert sorted(run.info.status for run in _runs(address, "resumed")) == ["FAILED", "FINISHED"]


def test_a_killed_process_leaves_what_sync_completes(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tiny" / "0"
    script = (
        "import os, sys; from pathlib import Path; from da_toolkit.tracking.tracker import make_tracker\n"
        f"tracker = make_tracker('http://127.0.0.1:{_free_port()}', Path({str(folder)!r}))\n"
        "tracker.start('sigkill', 'tiny/0', {}, {})\n"
        "for step in range(2000): tracker.metrics({'seg': 1.0, 'adv': 0.5}, step)\n"
        "assert not {'mlflow', 'requests', 'sqlite3'} & set(sys.modules)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == -signal.SIGKILL
    with (folder / "tracking.jsonl").open("a") as file:
        file.write('{"event": "metrics", "ti')  # the kill came in the middle of a line
    assert sync(folder, server.address) == 2002
    points = [(step, 1.0) for step in range(2000)]
    assert _points(server.address, "sigkill") == points
    assert _runs(server.address, "sigkill")[0].info.status == "KILLED"
    # interrupted before it could keep how far it came: everything goes again, into the same run
    (folder / "tracking.sent").unlink()
    assert sync(folder, server.address) == 2002
    assert _points(server.address, "sigkill") == points
    assert sync(folder, server.address) == 0


def test_what_mlflow_refuses_does_not_hold_up_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder, address = tmp_path / "runs" / "tiny" / "0", f"sqlite:///{tmp_path}/own.db"
    (tmp_path / "mlartifacts").write_text("where the folder of files should be")
    spool = Spool(folder)
    spool.append("start", key="k", place=address, experiment="refused", run_name="tiny/0", tags={}, process=1)
    for iou in (1.0, 2.0):
        spool.append("table", name="per_class", columns={"class": ["road"], "iou": [iou]})
        spool.append("metrics", step=int(iou), values={"seg": iou})
    spool.append("finish", status="FINISHED")
    with pytest.raises(UserError, match=r"took 5 events and refused 1 .*kept in"):
        sync(folder)
    assert capsys.readouterr().err.count("did not take table") == 1
    assert _points(address, "refused") == [(1, 1.0), (2, 2.0)]
    (tmp_path / "mlartifacts").unlink()
    assert sync(folder) == 1
    assert sync(folder) == 0
    (table,) = (tmp_path / "mlartifacts").rglob("per_class.json")
    assert json.loads(table.read_text())["data"] == [["road", 2.0]]


def test_sync_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tiny" / "0"
    with pytest.raises(UserError, match=r"no tracking\.jsonl.*Name one such as"):
        sync(folder)
    assert not (tmp_path / "runs").exists()
    Spool(folder).append("finish", status="FINISHED")
    with locked(folder), pytest.raises(UserError, match="in use by another run"):
        sync(folder)
    for place in ("none", "mlfow", "http://"):
        with pytest.raises(UserError, match="--tracking"):
            sync(folder, place)


@pytest.mark.usefixtures("patient")
def test_sqlite_beside_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = Path("results/runs")
    _track(make_tracker("mlflow", runs / "adv_rpt_gta" / "3"), tmp_path)
    assert {file.name for file in runs.iterdir()} == {"adv_rpt_gta", "mlflow.db", "mlartifacts"}
    assert not (tmp_path / "mlruns").exists()
    _check(f"sqlite:///{runs / 'mlflow.db'}", tmp_path)

    (tmp_path / "results").rename(tmp_path / "moved")  # to another machine, without its database
    (tmp_path / "moved" / "runs" / "mlflow.db").unlink()
    assert sync(Path("moved/runs/adv_rpt_gta/3")) == 10
    _check("sqlite:///moved/runs/mlflow.db", tmp_path)


@pytest.mark.usefixtures("patient")
def test_a_session_and_its_resumption_are_one_run(tmp_path: Path, tiny_recipe: Callable) -> None:
    for resume in (False, True):
        Session("tiny", tiny_recipe(SourceOnly()), Runtime(runs=tmp_path, workers=0, log_every=1, resume=resume)).run()
        if not resume:  # as if it had been stopped after its last checkpoint
            (tmp_path / "tiny" / "0" / "result.json").unlink()
    address = f"sqlite:///{tmp_path}/mlflow.db"
    (run,) = _runs(address, "da_toolkit")
    assert (run.info.run_name, run.info.status, run.data.params["seed"]) == ("tiny/0", "FINISHED", "0")
    steps = [json.loads(line)["step"] for line in (tmp_path / "tiny" / "0" / "metrics.jsonl").open() if "seg" in line]
    assert [step for step, _ in _points(address, "da_toolkit")] == steps
    files = {path.name for path in (tmp_path / "mlartifacts").rglob("*.*")}
    assert {"model.safetensors", "result.json", "recipe.json", "per_class.json"} <= files


@pytest.mark.parametrize(
    "place",
    ["http://", "http://:5000", "http://host:99999", "http://host:port", "https://[::1", "http://a host", "sqlite:///"],
)
def test_malformed_address(place: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--tracking .*Valid: 'mlflow'"):
        make_tracker(place, tmp_path / "tiny" / "0")


def test_passwords_are_neither_shown_nor_kept(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tracker = make_tracker(f"http://me:secret@127.0.0.1:{_free_port()}", tmp_path / "tiny" / "0")
    tracker.start("secret", "tiny/0", {}, {})
    tracker.finish("FAILED")
    kept = [file.read_text() for file in (tmp_path / "tiny" / "0").iterdir()]
    said = capsys.readouterr().err
    assert "not with MLflow at http://127.0.0.1:" in said
    assert not any("secret@" in text for text in (*kept, said))
    assert without_password("https://a:b@c@host:1/path@x") == "https://host:1/path@x"


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "tiny" / "0")
    spool.append("start", key="k")
    before = spool.path.read_bytes()

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            with open(spool.path, "a") as file:
                file.write(text[:5])
            raise OSError(errno.ENOSPC, "No space left on device")

    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"tiny/0 cannot be written to: no space is left\. Free space"),
    ):
        patch.setattr(Path, "open", lambda *_, **__: Full())
        spool.append("metrics", step=1, values={"seg": 1.0})
    assert spool.path.read_bytes() == before


@pytest.mark.parametrize("place", ["wandb", "", "ftp://somewhere", "None"])
def test_unknown_place_lists_the_valid_ones(place: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'mlflow'.*'none'.*http://127\.0\.0\.1:5000.*sqlite:///"):
        make_tracker(place, tmp_path / "tiny" / "0")


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        make_tracker("mlflow", tmp_path / "file" / "tiny" / "0")


def test_none_imports_neither_mlflow_nor_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from da_toolkit.tracking.tracker import make_tracker\n"
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
