"""Milliseconds of what a user waits for: a street frame, a loaded batch, a training step of each method.

    python benchmarks/speed.py

Everything is measured in one run, in turns, so that a busy machine slows all alike; medians and ratios are kept.
"""

import dataclasses
import random
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import torch
from lightning.fabric import Fabric

from da_toolkit.data.loader import Loading
from da_toolkit.data.samples import Samples
from da_toolkit.data.sampling import EpochSampler
from da_toolkit.data.streets import render
from da_toolkit.errors import exits_cleanly
from da_toolkit.files import write_json
from da_toolkit.methods import METHODS
from da_toolkit.recipe import Schedule, Stage, load_recipe, recipe_files
from da_toolkit.recipe.demo import demo_version
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit
from da_toolkit.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "speed.json"
NAMES = METHODS.names()


def median_ms(run: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median time of one call, milliseconds of the clock."""
    times = []
    for _ in range(rounds):
        begin = clock()
        run()
        times.append(1000 * (clock() - begin))
    return statistics.median(times)


def frames(rounds: int = 60) -> dict[str, float]:
    """One frame of each look at 128x256, on one core."""
    cv2.setNumThreads(1)
    render("game", "train", 0)  # the noise tile is made once
    looks = {look: iter(range(rounds)) for look in ("game", "camera")}
    return {look: median_ms(lambda look=look: render(look, "train", next(looks[look])), rounds) for look in looks}


def batches() -> float:
    """One batch of two demo images, loaded in this process."""
    recipe = demo_version(load_recipe(recipe_files()["source_only_gta"]))
    data = recipe.source.build("train")
    samples = Samples(data, recipe.source.size, recipe.source_augmentation, True, 0)
    stream = Loading(samples, EpochSampler(len(data), 2, 0), workers=0)
    return median_ms(lambda: next(stream), 50)


def steps(rounds: int = 8, block: int = 3) -> dict[str, float]:
    """One optimiser step of each method with the demo network, its frozen knowledge made, all its players in play.

    Methods take turns in a changing order, so that a busy machine meets all alike.
    """
    trainers = {}
    plain = demo_version(load_recipe(recipe_files()["source_only_gta"]))
    stage = Stage("round 1", 10_000, round=1)
    for name in NAMES:
        method = METHODS[name].build()
        aux = any(getattr(part, "level", "main") == "aux" for part in getattr(method, "discriminators", ()))
        model = dataclasses.replace(plain.model, aux=aux)
        target = dataclasses.replace(plain.target, frames=40)  # a round's pass over it is not what is timed
        recipe = dataclasses.replace(plain, method=method, model=model, target=target, schedule=Schedule((stage,)))
        data = recipe.source.build("train"), recipe.target.build("train")
        trainer = Trainer(recipe, Fabric(devices=1), *data)
        trainer.begin(stage)
        trainers[name] = _endless_steps(trainer)
        list(islice(trainers[name], 2))  # warm-up
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    order = random.Random(0)
    for _ in range(rounds):
        for name, stream in order.sample(list(trainers.items()), len(trainers)):
            times[name].append(median_ms(lambda stream=stream: next(stream), block))
    return {name: statistics.median(found) for name, found in times.items()}


def _endless_steps(trainer: Trainer) -> Iterator[dict[str, torch.Tensor]]:
    """Trains one step each time the next item is asked for."""
    while True:
        yield trainer.step()


def main() -> None:
    result = {"frame_ms": frames(), "batch_ms": batches(), "step_ms": steps(), "threads": torch.get_num_threads()}
    result |= environment(Fabric(devices=1).device)
    write_json(RESULTS, result)
    print(table(result))


def table(result: dict[str, Any]) -> str:
    """Markdown, with each step's ratio to source-only training."""
    base = result["step_ms"]["source_only"]
    lines = ["| what | median ms | ratio to source-only |", "| --- | ---: | ---: |"]
    lines += [f"| street frame, 128x256, {look} | {value:.1f} | |" for look, value in result["frame_ms"].items()]
    lines.append(f"| loading a batch of 2, 96x192 | {result['batch_ms']:.1f} | |")
    lines += [f"| step, {name} | {value:.0f} | {value / base:.2f} |" for name, value in result["step_ms"].items()]
    return "\n".join(
        [f"{result['device']}, {result['threads']} threads, commit {short_commit(result['commit'])}.", "", *lines]
    )


if __name__ == "__main__":
    exits_cleanly(main)
