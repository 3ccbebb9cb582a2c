"""Signals stop a run between two steps and the same command completes it; a folder is one run's at a time."""

import json
import os
import signal
import subprocess
import sys

import pytest
from processes import RECIPE, wait_for_steps

from da_toolkit.errors import Stopped, UserError
from da_toolkit.methods import SourceOnly
from da_toolkit.runs.lock import locked
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session


def start(file, runs, *words):
    command = [sys.executable, "-m", "da_toolkit.run", file, "--runs", runs, "--workers", "1", "--tracking", "none"]
    return subprocess.Popen([*map(str, command), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_to_the_same_bits(number, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(RECIPE)
    run = start(file, tmp_path / "stopped", "--log-every", "1")
    folder = tmp_path / "stopped" / "tiny" / "0"
    wait_for_steps(run, folder / "metrics.jsonl")
    run.send_signal(number)
    _, said = run.communicate(timeout=120)
    assert run.returncode == Stopped.code == 75
    assert f"Stopped by {number.name} after step" in said and "Traceback" not in said
    assert list((folder / "checkpoints").glob("step_*.pt")) and not (folder / "result.json").exists()
    assert start(file, tmp_path / "stopped", "--log-every", "1").wait(240) == 0
    assert start(file, tmp_path / "whole", "--log-every", "1").wait(240) == 0
    weights = [tmp_path / name / "tiny" / "0" / "model.safetensors" for name in ("stopped", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [step for step in steps if step] == sorted(steps)[1:] and set(range(1, 41)) <= set(steps)


def test_the_lock_names_its_holder_and_is_let_go(tmp_path):
    folder = tmp_path / "run"
    with locked(folder), pytest.raises(UserError, match=f"process {os.getpid()}"), locked(folder):
        pass
    with locked(folder):
        pass


def test_a_second_run_in_a_folder_in_use_is_refused(tmp_path, tiny_recipe):
    session = Session("tiny", tiny_recipe(SourceOnly()), Runtime(runs=tmp_path, workers=0, tracking="none"))
    with locked(session.folder), pytest.raises(UserError, match="in use by another run"):
        session.run()
    assert not session.folder.exists()


HOLD = """
import os, sys, time
from pathlib import Path
from da_toolkit.runs.lock import locked
with locked(Path(sys.argv[1])):
    if os.fork() == 0:  # the fork itself tells, so that it has begun before its parent is killed
        print("held", os.getpid(), flush=True)
    time.sleep(60)
"""


def test_a_killed_holder_leaves_no_lock(tmp_path):
    """Though processes that it has forked, such as loader workers, live on."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    held, worker = holder.stdout.readline().split()
    assert held == "held"
    with pytest.raises(UserError, match=str(holder.pid)), locked(tmp_path / "run"):
        pass
    holder.kill()
    holder.wait()
    with locked(tmp_path / "run"):
        pass
    os.kill(int(worker), signal.SIGKILL)  # it was still there


def test_a_label_that_cannot_be_scored_costs_no_step(tmp_path, tiny_recipe, monkeypatch):
    """The run ends with the error; once the label is mended the same command scores what was trained."""
    from da_toolkit.data.streets.domain import StreetsData
    from da_toolkit.errors import UserError

    session = Session("t", tiny_recipe(SourceOnly(), steps=4), Runtime(runs=tmp_path, workers=0, tracking="none"))
    label = StreetsData.label

    def broken(self, index):
        if self.split == "val" and index == 1:
            raise UserError("the label holds id 77")
        return label(self, index)

    monkeypatch.setattr(StreetsData, "label", broken)
    with pytest.raises(UserError, match="id 77"):
        session.run()
    monkeypatch.setattr(StreetsData, "label", label)
    trained = []
    monkeypatch.setattr("da_toolkit.training.trainer.Trainer.step", lambda self: trained.append(self.done))
    result = session.run()
    assert result["steps"] == 4 and len(result["evaluations"]) == 1 and not trained
