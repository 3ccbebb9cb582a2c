"""Kills runs at random moments and resumes them: nothing may be lost, and every bit must be that of a whole run.

    python benchmarks/chaos.py --kills 60

Every method with RPT beside it, in turn, on the tiny street world: first whole, then with SIGKILL after a random time
or, every second time, in the middle of writing a checkpoint, until the method has had its kills. Then weights,
teachers, discriminators, optimiser states, frozen knowledge, data order (through the weights), scores and metrics are
compared bit by bit. Children are forked, so that a start costs no import.
"""

import argparse
import dataclasses
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from da_toolkit.data import Streets
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import exits_cleanly
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.files import write_json
from da_toolkit.methods import SourceOnly, TargetBN
from da_toolkit.models.deeplab import DeepLabV2
from da_toolkit.recipe import AdamW, Recipe, Schedule, Stage, rounds
from da_toolkit.registry import METHODS
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.runs.checkpoint import Checkpoints
from da_toolkit.runs.provenance import environment
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.shareable import short_commit
from da_toolkit.terms.term import Method

RESULTS = Path(__file__).parent / "results" / "chaos.json"
RPT_TINY = RPT(
    Patch(1.0, threshold=0.0),
    Cluster(threshold=0.0, clusters=8, components=4),
    SpatialLogic(weight=1.0, steps=5, width=8, threshold=0.5),
    Superpixels(12),
)
TIMES = {"time", "images_per_second"}
"""Entries of `metrics.jsonl` that no two runs share."""


def recipe_of(method: Method) -> Recipe:
    """A run of a few seconds: a warm-up, a round, evaluations on the way, everything random there is."""
    if method.reads.source and not isinstance(method, TargetBN):
        method = dataclasses.replace(method, regularizers=(*method.regularizers, RPT_TINY))
    looks = {"size": (64, 96), "frames": 6, "val_frames": 2, "render_size": (64, 96)}
    return Recipe(
        source=Streets(**looks),
        target=Streets(look="camera", **looks),
        model=DeepLabV2("test_resnet", 16, "none", aux=True, dilations=(1, 2)),
        method=method,
        schedule=Schedule((Stage("warm-up", 4), *rounds(2, 3))),
        optimizer=AdamW(lr=2e-3, head_multiplier=1),
        batch_size=2,
        source_augmentation=Augmentation(flip=True, scale=(0.8, 1.25), color=0.3),
        target_augmentation=Augmentation(flip=True),
        evaluation=Evaluation(every=4, validators=2),
    )


def session_of(name: str, runs: Path) -> Session:
    """It saves after every step and reports every third, so that checkpoints fall between reports."""
    runtime = Runtime(runs=runs, workers=0, tracking="none", log_every=3, save_every=1)
    recipe = recipe_of(METHODS[name].build())
    if recipe.method.starts_trained:
        model = recipe.model.with_weights(str(_trained(runs)))
        recipe = dataclasses.replace(recipe, model=model)
    return Session(name, recipe, runtime)


def _trained(runs: Path) -> Path:
    """The folder of a finished run that a method which reads no source starts from."""
    session = Session("source_only", recipe_of(SourceOnly()), Runtime(runs=runs / "starts", workers=0, tracking="none"))
    if not (session.folder / "result.json").exists():
        session.run()
    return session.folder


def start(name: str, runs: Path) -> int:
    """Run, or resume, in a forked child whose output goes to a file; its process number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with (runs / f"{name}.log").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        session_of(name, runs).run()
        code = 0
    except BaseException as error:
        print(f"failed: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def wait(child: int) -> int:
    """The exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(child: int, delay: float, unfinished: Path | None) -> bool:
    """SIGKILL after `delay` seconds and, if a file is given, while it is being written; false if it ended first."""
    until = time.monotonic() + delay
    while time.monotonic() < until or (unfinished is not None and not unfinished.exists()):
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return wait(child) == -signal.SIGKILL


def torment(name: str, kills: int, chance: random.Random, folder: Path) -> dict[str, Any]:
    """One method: whole, and killed `kills` times; what differs."""
    whole, broken = folder / "whole", folder / "broken"
    for runs in (whole, broken):
        runs.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    if wait(start(name, whole)):
        raise RuntimeError(f"{name}: the run without kills failed; see {whole / name}.log")
    seconds = time.monotonic() - begin
    run = session_of(name, broken).folder
    done, writing, failures = 0, 0, 0
    while done < kills:
        in_writing = done % 2 == 1
        unfinished = run / "checkpoints" / "unfinished.tmp" if in_writing else None
        child = start(name, broken)
        if kill(child, chance.uniform(0, 0.8 * seconds), unfinished):
            done += 1
            writing += in_writing
        elif (run / "result.json").exists():  # it was quicker: begin anew, or there is nothing left to kill
            for file in sorted(run.rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()
        else:
            failures += 1
            break
    if not (run / "result.json").exists():
        failures += wait(start(name, broken)) != 0
    lost = differences(session_of(name, whole).folder, run) if not failures else ["a resumed run failed"]
    return {"method": name, "kills": done, "while_writing": writing, "lost": lost, "seconds": seconds}


def differences(whole: Path, broken: Path) -> list[str]:
    """What of a finished run is not bit by bit that of another."""
    found = []
    if (whole / "model.safetensors").read_bytes() != (broken / "model.safetensors").read_bytes():
        found.append("weights")
    states = [Checkpoints(run / "checkpoints").load(torch.device("cpu")) for run in (whole, broken)]
    for state in states:
        state["meter"].pop("seconds")
        for name in ("seconds", "metrics_bytes"):  # numbers of seconds have more or fewer digits
            state["log"].pop(name)
    found += [f"state: {path}" for path in unequal(*states)]
    lines = [
        [
            {name: value for name, value in json.loads(line).items() if name not in TIMES}
            for line in (run / "metrics.jsonl").read_text().splitlines()
        ]
        for run in (whole, broken)
    ]
    if lines[0] != lines[1]:
        found.append("metrics.jsonl")
    with np.load(whole / "confusions.npz") as one, np.load(broken / "confusions.npz") as other:
        if not np.array_equal(one["counts"], other["counts"]):
            found.append("confusions.npz")
    results = [json.loads((run / "result.json").read_text()) for run in (whole, broken)]
    if results[0]["evaluations"] != results[1]["evaluations"]:
        found.append("evaluations")
    return found


def unequal(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two trees of tensors and plain values differ; NaN equals itself."""
    if type(one) is not type(other):
        return [path]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [path]
        return [found for key in one for found in unequal(one[key], other[key], f"{path}.{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [path]
        return [
            found
            for place, pair in enumerate(zip(one, other, strict=True))
            for found in unequal(*pair, f"{path}.{place}")
        ]
    if isinstance(one, torch.Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype
        return [] if same and one.numpy().tobytes() == other.numpy().tobytes() else [path]
    return [] if one == other or (one != one and other != other) else [path]


def table(result: dict[str, Any]) -> str:
    """Markdown: one row a method."""
    rows = result["methods"]
    total, writing = sum(row["kills"] for row in rows), sum(row["while_writing"] for row in rows)
    losses = sum(bool(row["lost"]) for row in rows)
    lines = [
        f"{total} kills, {writing} of them while a checkpoint was being written; runs that lost anything: {losses}. "
        f"{result['device']}, seed {result['seed']}, commit {short_commit(result['commit'])}.",
        "",
        "| method (with RPT) | kills | while writing | lost |",
        "| --- | ---: | ---: | --- |",
    ]
    for row in rows:
        lines.append(
            f"| {row['method']} | {row['kills']} | {row['while_writing']} | {', '.join(row['lost']) or 'nothing'} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60, help="over all methods, in equal parts")
    parser.add_argument("--methods", nargs="+", choices=METHODS.names(), default=METHODS.names())
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    chance = random.Random(options.seed)
    each = -(-options.kills // len(options.methods))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DA_TOOLKIT_CACHE"] = str(Path(folder) / "cache")
        found = [torment(name, each, chance, Path(folder)) for name in track(options.methods, "methods")]
    result = {"methods": found, "seed": options.seed, **environment(torch.device("cpu"))}
    print(table(result))
    if set(options.methods) == set(METHODS.names()):
        write_json(RESULTS, result)
    return int(any(row["lost"] for row in found))


if __name__ == "__main__":
    exits_cleanly(main)
