"""Stops runs where they wait, and completes them: `python stops.py FOLDER PLACE...` writes what came of it as JSON.

Each run is a fork of this process, so that a start costs no import, and ends as a command does.
"""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from da_toolkit.data import Streets
from da_toolkit.data.streets.domain import StreetsData
from da_toolkit.errors import ends_process
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.methods import Adversarial, MeanTeacher, TargetBN
from da_toolkit.models.deeplab import LightDeepLabV3Plus
from da_toolkit.recipe import AdamW, Recipe, Schedule, Stage, rounds
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.runs.checkpoint import Checkpoints
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session

TINY = RPT(
    Patch(1.0, threshold=0.0),
    Cluster(threshold=0.0, clusters=8, components=4),
    SpatialLogic(weight=1.0, steps=5, width=8),
    Superpixels(12),
)
METHODS = {
    "rpt": Adversarial(regularizers=(MeanTeacher(), TINY)),
    "adabn": TargetBN(batches=2),
}


def recipe(name):
    looks = {"size": (64, 96), "frames": 6, "val_frames": 3, "render_size": (64, 96)}
    return Recipe(
        source=Streets(**looks),
        target=Streets(look="camera", **looks),
        model=LightDeepLabV3Plus("test_resnet", weights="none", width=8, aux=False, dropout=0.5),
        method=METHODS[name],
        schedule=Schedule((Stage("warm-up", 4), *rounds(1, 3))),
        optimizer=AdamW(lr=2e-3),
        batch_size=2,
        accumulate=2,
        evaluation=Evaluation(every=3, validators=2),
    )


class Hang:
    """From its `call`-th call on, which tells so in a file, a function never comes back."""

    def __init__(self, marker, call=1, when=lambda *_: True):
        self.marker, self.call, self.when, self.count = marker, call, when, 0

    def on(self, owner, name):
        function = getattr(owner, name)

        def hanging(*arguments, **settings):
            if self.when(*arguments):
                self.count += 1
                if self.count >= self.call:
                    self.marker.touch()
                    while True:
                        time.sleep(1)
            return function(*arguments, **settings)

        setattr(owner, name, hanging)


def in_worker(data, index):
    return torch.utils.data.get_worker_info() is not None


def validates(data, index):
    return data.split == "val"


def endless(marker):
    """Instead of PCA: one call into LAPACK, in which no signal handler runs."""
    from sklearn.decomposition import IncrementalPCA

    def fit(self, rows):
        marker.touch()
        np.linalg.svd(np.random.default_rng(0).random((4000, 4000)))

    IncrementalPCA.fit = fit


def patched(module, name, call=1):
    return lambda marker: Hang(marker, call).on(importlib.import_module(f"da_toolkit.{module}"), name)


# A scoring reads the 3 validation images twice: once to score them, once for pictures.
PLACES = {  # name: the method, loader processes, and what hangs
    "a worker": ("rpt", 1, lambda marker: Hang(marker, 15, in_worker).on(StreetsData, "image")),
    "loading without workers": ("rpt", 0, lambda marker: Hang(marker, 40).on(StreetsData, "image")),
    "the survey": ("rpt", 0, lambda marker: Hang(marker).on(Superpixels, "compute")),
    "clustering": ("rpt", 0, endless),
    "the logic": ("rpt", 0, patched("regularizers.rpt.logic", "_masked_batch", 3)),
    "the target pass": ("rpt", 0, patched("regularizers.rpt.term", "RegionTable")),
    "figures": ("rpt", 0, patched("regularizers.rpt.term", "heat_map")),
    "an evaluation": ("rpt", 0, lambda marker: Hang(marker, 7, validates).on(StreetsData, "image")),
    "validators": ("rpt", 1, patched("evaluation.validators", "certainty", 3)),
    "the last evaluation": ("rpt", 1, lambda marker: Hang(marker, 13, validates).on(StreetsData, "image")),
    "the pass of AdaBN": (
        "adabn",
        1,
        lambda marker: Hang(marker, 3, lambda d, i: in_worker(d, i) and d.name.endswith("camera")).on(
            StreetsData, "image"
        ),
    ),
    "AdaBN's last evaluation": ("adabn", 0, lambda marker: Hang(marker, 17, validates).on(StreetsData, "image")),
}


def begin(folder, name, workers, prepare=lambda: None):
    """The process number of a run in `folder`; in it, this does not come back."""
    child = os.fork()
    if child:
        return child
    os.setsid()  # so that its workers are known by their group
    with (folder / "said.txt").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    os.environ["DA_TOOLKIT_CACHE"] = str(folder / "cache")
    torch.manual_seed(0)
    prepare()
    runtime = Runtime(runs=folder, workers=workers, tracking="none", log_every=3, save_every=100)
    ends_process(lambda: Session("t", recipe(name), runtime).run() and 0)


def code_of(child, limit=90.0):
    until = time.monotonic() + limit
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def left_of(group):
    """Processes of a group that are still there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found


def stopped(folder, place, number):
    """What came of a run that got a signal while it hung."""
    name, workers, hang = PLACES[place]
    folder.mkdir()
    marker = folder / "hangs"
    child = begin(folder, name, workers, lambda: hang(marker))
    until = time.monotonic() + 120
    while not marker.exists():
        assert time.monotonic() < until and not os.waitpid(child, os.WNOHANG)[0], (folder / "said.txt").read_text()
        time.sleep(0.02)
    time.sleep(0.5)
    sent = time.monotonic()
    os.kill(child, number)
    code = code_of(child)
    seconds = time.monotonic() - sent
    if number == signal.SIGKILL:
        time.sleep(1)
    found = {
        "seconds": round(seconds, 2),
        "code": code,
        "left": left_of(child),
        "said": (folder / "said.txt").read_text(),
    }
    found["resumed"] = code_of(begin(folder, name, workers))
    found["differs"] = differences(folder, folder.parent / f"whole {name}")
    if found["resumed"]:
        found["said"] += (folder / "said.txt").read_text()
    return found


def differences(one, other):
    """Of the last states, the results and the metrics of two finished runs, but for times."""
    states = []
    for folder in (one, other):
        run = folder / "t" / "0"
        state = Checkpoints(run / "checkpoints").load(torch.device("cpu"))
        del state["log"]["seconds"], state["log"]["metrics_bytes"], state["meter"]
        result = json.loads((run / "result.json").read_text())
        metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for entry in metrics:
            entry.pop("time", None), entry.pop("images_per_second", None)
        states.append(
            {"state": state, "evaluations": result["evaluations"], "best": result["kept_best"], "metrics": metrics}
        )
    return differ(*states, "")


def differ(one, other, path):
    if isinstance(one, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [path]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{path} {sorted(map(str, one.keys() ^ other.keys()))}"]
        return [found for key in one for found in differ(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [f"{path} {len(one)} {len(other)}"]
        return [found for n, pair in enumerate(zip(one, other, strict=True)) for found in differ(*pair, f"{path}/{n}")]
    return [] if one == other or (one != one and other != other) else [f"{path} {one} {other}"]


def main(folder, places):
    torch.set_num_threads(1)
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
    for name in {PLACES[place][0] for place in places}:
        whole = folder / f"whole {name}"
        whole.mkdir(parents=True)
        assert code_of(begin(whole, name, 0)) == 0, (whole / "said.txt").read_text()
    found = {}
    for turn, place in enumerate(places):
        found[place] = stopped(folder / place, place, numbers[turn % 3])
        (folder / "found.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(PLACES))
