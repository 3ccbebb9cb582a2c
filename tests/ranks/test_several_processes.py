"""Real runs of two processes: one is killed, all are stopped, torchrun restarts them; each run is completed then."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from processes import RECIPE, wait_for_steps

from da_toolkit.runs.checkpoint import Checkpoints

RUN = ["-m", "da_toolkit.run"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1", *RUN]


class Case:
    """A recipe of 40 steps, its run's folder, and processes that work in it."""

    def __init__(self, folder):
        self.file, self.runs = folder / "tiny.py", folder / "runs"
        self.file.write_text(RECIPE)
        self.folder = self.runs / "tiny" / "0"
        self.metrics = self.folder / "metrics.jsonl"
        self.said = folder / "said.txt"

    def start(self, command, *words):
        """What it says is in `said`; a pipe would stay open in the loader workers of a killed rank."""
        settings = ["--workers", "1", "--tracking", "none", "--log-every", "1", "--save-every", "2", "--runs"]
        with self.said.open("w") as said:
            return subprocess.Popen(
                list(map(str, [sys.executable, *command, self.file, *settings, self.runs, *words])),
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def ended(self, run, seconds=60):
        """Its exit code and what it said, within a minute."""
        return run.wait(seconds), self.said.read_text()

    def steps(self):
        return [json.loads(line)["step"] for line in self.metrics.read_text().splitlines()]

    def checkpoint(self):
        return Checkpoints(self.folder / "checkpoints").load(torch.device("cpu"))


def ranks_of(parent):
    """The process id of each rank that `parent` has started."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            started_by = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (process / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        rank = [int(word.removeprefix(b"LOCAL_RANK=")) for word in words if word.startswith(b"LOCAL_RANK=")]
        if started_by == parent.pid and rank:
            found[rank[0]] = int(process.name)
    return found


def test_a_killed_rank_ends_all_and_the_run_goes_on_also_with_fewer(tmp_path):
    case, two = Case(tmp_path), ("--devices", "2")
    run = case.start(RUN, *two)
    wait_for_steps(run, case.metrics, 4)
    [(rank, process)] = ranks_of(run).items()
    os.kill(process, signal.SIGKILL)
    code, said = case.ended(run)
    assert (code, rank) == (1, 1) and "Traceback" not in said
    assert said.count("error:") == said.count(f"error: Rank 1 (process {process}) was killed by SIGKILL") == 1

    first = case.checkpoint()["done"]
    run = case.start(RUN, *two)
    wait_for_steps(run, case.metrics, first + 4)
    [process] = ranks_of(run).values()
    run.kill()
    run.wait()
    until = time.monotonic() + 60
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < until, "rank 1 outlived rank 0"
        time.sleep(0.2)
    said = case.said.read_text()
    assert f"resumed after step {first}" in said and f"error: Rank 0 (process {run.pid}) was killed" in said
    assert "Traceback" not in said

    second = case.checkpoint()["done"]
    run = case.start(RUN, *two)
    wait_for_steps(run, case.metrics, second + 3)
    run.terminate()
    code, said = case.ended(run)
    assert code == 75 and said.count("error:") == said.count("error: Stopped by SIGTERM") == 1
    assert "Traceback" not in said
    stopped = int(re.search(r"after step (\d+) of 40", said).group(1))
    state = case.checkpoint()
    assert first <= second < stopped == state["done"] and state["images"] == 2 * stopped

    code, said = case.ended(case.start(RUN), 240)
    assert code == 0 and f"resumed after step {stopped}" in said
    assert case.checkpoint()["images"] == 2 * stopped + (40 - stopped)
    assert [step for step in dict.fromkeys(case.steps()) if step] == list(range(1, 41))


FAILS_ON_RANK_1 = """
import dataclasses, os
from da_toolkit.methods import SourceOnly
from da_toolkit.terms.term import Term

class Fails(Term):
    def losses(self, step):
        if step.index == 2 and os.environ["LOCAL_RANK"] == "1":
            raise ValueError("of rank 1")
        return {}

@dataclasses.dataclass(frozen=True)
class Own(SourceOnly):
    def terms(self, context):
        return [*super().terms(context), Fails()]

recipe = dataclasses.replace(recipe, method=Own())
"""


def test_own_code_that_fails_on_one_rank_is_told_once_and_nothing_promised(tmp_path):
    case = Case(tmp_path)
    case.file.write_text(RECIPE + FAILS_ON_RANK_1)
    code, said = case.ended(case.start(RUN, "--devices", "2"), 120)
    assert code == 1 and said.count("ValueError: of rank 1. Mend it there.") == 1 and "Traceback" not in said
    assert "ended with exit code 2. It said what to mend; the other ranks were ended." in said
    assert "goes on from" not in said


def test_torchrun_restarts_the_ranks_and_the_run_completes_itself(tmp_path):
    """Also with --overwrite, which is meant for the first attempt."""
    case = Case(tmp_path)
    run = case.start(TORCHRUN, "--overwrite")
    wait_for_steps(run, case.metrics, 6)
    os.kill(ranks_of(run)[1], signal.SIGKILL)
    code, said = case.ended(run, 240)
    assert code == 0, said
    [step] = map(int, re.findall(r"resumed after step (\d+)", said))
    assert step >= 4 and said.count("error: Another rank of this run ended") <= 1
    assert case.checkpoint()["images"] == 80 and (case.folder / "result.json").exists()
    assert [step for step in dict.fromkeys(case.steps()) if step] == list(range(1, 41))
