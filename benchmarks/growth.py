"""How a step grows with its batch, a pass over the target with its images, and evaluation's memory with them.

    python benchmarks/growth.py

On the demo network, one thread. A step and a pass should be linear: the time of each further image stays the same; an
evaluation's memory should be flat. Draws `results/growth.svg` beside the numbers.
"""

import dataclasses
import multiprocessing
import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from kept import Kept
from lightning.fabric import Fabric

from da_toolkit.errors import exits_cleanly
from da_toolkit.evaluation.evaluate import evaluate
from da_toolkit.files import write_json
from da_toolkit.recipe import Recipe, Schedule, Stage, load_recipe, recipe_files
from da_toolkit.recipe.demo import demo_version
from da_toolkit.registry import METHODS
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit
from da_toolkit.terms.step import View
from da_toolkit.training.passes import PassStep, learn
from da_toolkit.training.trainer import Trainer

HERE = Path(__file__).parent / "results"
BATCHES, IMAGES, ROUNDS = (1, 2, 4, 8), (16, 32, 64, 128), 5
UNITS = {
    "step_ms": "step, ms, by images a batch and domain",
    "step_mib": "step, MiB that autograd holds at most, by the same",
    "pass_ms": "pass over the target, ms, by images",
    "evaluation_mib": "evaluation, MiB at most beyond those held after a first image, by images",
}


def recipe_of(batch: int = 2, frames: int = 8) -> Recipe:
    """The demo's adversarial recipe."""
    plain = demo_version(load_recipe(recipe_files()["source_only_gta"]))
    return dataclasses.replace(
        plain,
        method=METHODS["adaptseg"].build(),
        target=dataclasses.replace(plain.target, frames=frames, val_frames=frames),
        schedule=Schedule((Stage("train", 10_000),)),
        batch_size=batch,
    )


def trainer_of(recipe: Recipe) -> Trainer:
    return Trainer(recipe, Fabric(devices=1), recipe.source.build("train"), recipe.target.build("train"))


def steps() -> tuple[dict[int, float], dict[int, float]]:
    """Median milliseconds of a step on loaded batches, and MiB that autograd holds, by batch size, in turns."""
    trainers = {batch: trainer_of(recipe_of(batch)) for batch in BATCHES}
    times: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    held = {}
    for batch, trainer in trainers.items():
        batches = trainer.images.next()
        trainer.images.next = lambda batches=batches: batches
        trainer.step()  # warms up
        kept = Kept(trainer.model)
        with kept.hooks():
            learn(trainer.terms, PassStep(trainer.network, *batches), trainer._backward, trainer.autocast)
        held[batch] = kept.most / 2**20
    for _ in range(ROUNDS):
        for batch, trainer in trainers.items():
            begin = time.perf_counter()
            trainer.step()
            times[batch].append(1000 * (time.perf_counter() - begin))
    return {batch: statistics.median(found) for batch, found in times.items()}, held


def passes() -> dict[int, float]:
    """Median milliseconds of a pass over so many target images, decoding and network included."""
    trainers = {count: trainer_of(recipe_of(frames=count)) for count in IMAGES}
    times: dict[int, list[float]] = {count: [] for count in IMAGES}
    for number in range(4):
        for count, trainer in trainers.items():
            trainer.model.eval()
            begin = time.perf_counter()
            with torch.inference_mode():
                for batch in trainer.images.target_pass():
                    View(trainer.network, batch).probabilities()
            if number:  # the first round renders the frames
                times[count].append(1000 * (time.perf_counter() - begin))
    return {count: statistics.median(found) for count, found in times.items()}


def evaluation_memory(count: int) -> float:
    """MiB by which this process grows at most while it scores so many images, beyond what it holds after a first."""
    recipe = recipe_of(frames=count)
    model = recipe.model.build(len(recipe.target.label_space)).eval()
    data = recipe.target.build("val")
    grown = 0.0
    for number in range(2):
        before = _resident()
        over = threading.Event()
        with ThreadPoolExecutor(1) as watcher:
            most = watcher.submit(_most_resident, over)
            scored = data if number else recipe_of(frames=1).target.build("val")
            evaluate(model, scored, recipe.evaluation, recipe.target.size, torch.device("cpu"))
            over.set()
            grown = most.result() - before
    return grown


def _most_resident(over: threading.Event) -> float:
    most = 0.0
    while not over.wait(0.002):
        most = max(most, _resident())
    return most


def _resident() -> float:
    """MiB of its own that this process holds now, as Linux tells it: pages of files that it reads, as street frames are
    kept, are the system's to take back."""
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20


def svg(found: dict[str, dict[int, float]]) -> str:
    """A small chart of each: dots, and the line from the origin through the last one."""
    charts = []
    for place, (name, values) in enumerate(found.items()):
        left, across, up = 20 + 240 * place, max(values), max(*values.values(), 1e-9)
        points = [(left + 200 * x / across, 170 - 130 * y / up) for x, y in values.items()]
        dots = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3.5" fill="#1f6feb"/>' for x, y in points)
        charts.append(
            f'<path d="M{left} 30V170H{left + 210}" fill="none" stroke="#888"/>'
            f'<path d="M{left} 170L{points[-1][0]:.0f} {points[-1][1]:.0f}" stroke="#bbb" stroke-dasharray="4 3"/>'
            f"{dots}"
            f'<text x="{left}" y="20">{name}: {up:.0f}</text><text x="{left + 200}" y="186">{across}</text>'
        )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 980 200" font-family="sans-serif" font-size="12">'
        f'<rect width="980" height="200" fill="#fff"/>{"".join(charts)}</svg>\n'
    )


def table(result: dict[str, Any]) -> str:
    """Markdown: what each takes, and of each doubling how much more that is."""
    lines = [
        f"{result['device']}, one thread, commit {short_commit(result['commit'])}.",
        "",
        "| what | by | measured | each doubling |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, told in UNITS.items():
        counts = list(result["found"][name])
        values = list(result["found"][name].values())
        ratios = [f"{after / before:.2f}" if before > 1 else "–" for before, after in pairwise(values)]
        measured = ", ".join(f"{value:.0f}" for value in values)
        lines.append(f"| {told} | {', '.join(map(str, counts))} | {measured} | {', '.join(ratios)} |")
    return "\n".join(lines)


def main() -> None:
    torch.set_num_threads(1)
    ms, held = steps()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        memory = dict(zip(IMAGES, pool.map(evaluation_memory, IMAGES, 1), strict=True))
    found = {"step_ms": ms, "step_mib": held, "pass_ms": passes(), "evaluation_mib": memory}
    as_json = {name: {str(count): value for count, value in values.items()} for name, values in found.items()}
    result = {"found": as_json, **environment(Fabric(devices=1).device)}
    write_json(HERE / "growth.json", result)
    (HERE / "growth.svg").write_text(svg(found), encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    exits_cleanly(main)
