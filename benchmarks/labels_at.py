"""Labels at the head's own positions instead of the image's pixels (`method.labels_at`): what it saves and costs.

    python benchmarks/labels_at.py --data-root FOLDER [--methods source_only dacs] [--seeds 0 1 2]

Accuracy is that of the recipes `*_carla` (CARLA -> Cityscapes at 256x128), resumable run by run. Before, training steps
of both ways take turns in one process, and what autograd holds at a time of such a step is counted.
"""

import argparse
import dataclasses
import statistics
import time
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from accuracy import recipe_for, run_one
from kept import Kept
from lightning.fabric import Fabric
from records import keep

from da_toolkit.errors import exits_cleanly
from da_toolkit.recipe import Recipe
from da_toolkit.report.table import mean_and_spread
from da_toolkit.runs.provenance import environment
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.shareable import short_commit

RESULTS = Path(__file__).parent / "results" / "labels_at.json"
PLACES = ("pixels", "head")
STEPS = 9
"""Steps of each way that are timed, in turns."""
PROTOCOLS = ("streets11", "streets7")


def taught_at(method: str, place: str) -> Recipe:
    """The method's recipe on the pair, with its labels there."""
    recipe = recipe_for(method, "carla", None)
    return dataclasses.replace(recipe, method=dataclasses.replace(recipe.method, labels_at=place))


def steps(method: str, data_root: Path) -> list[dict[str, Any]]:
    """Of each way the quartiles of a step's milliseconds, in turns on the same images, loading left out, and the bytes
    that autograd holds at most. Teachers teach from the first step on."""
    trainers, times = {}, {place: [] for place in PLACES}
    for place in PLACES:
        recipe = taught_at(method, place)
        parts = tuple(
            dataclasses.replace(part, start=0.0) if hasattr(part, "start") else part
            for part in recipe.method.regularizers
        )
        recipe = dataclasses.replace(recipe, method=dataclasses.replace(recipe.method, regularizers=parts))
        trainer, _ = Session(method, recipe, Runtime(data_root=data_root, workers=0, tracking="none")).build()
        trainer.begin(recipe.schedule.stages[0])
        trainer.images.next = repeat(trainer.images.next()).__next__
        trainer.step()  # warms up
        trainers[place] = trainer
    for _ in range(STEPS):
        for place, trainer in trainers.items():
            begin = time.perf_counter()
            trainer.step()
            times[place].append(1000 * (time.perf_counter() - begin))
    found = []
    for place, trainer in trainers.items():
        held = Kept(trainer.model)
        with held.hooks():
            trainer.step()
        quartiles = statistics.quantiles(times[place], n=4, method="inclusive")
        found.append({"method": method, "labels_at": place, "seed": None, "ms": quartiles, "kept": held.most})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["source_only", "dacs"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/labels_at"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for method in options.methods:
        for record in steps(method, options.data_root):
            made = {"threads": 1} | environment(Fabric(devices=1).device)
            keep(RESULTS, record | made, ("method", "labels_at", "seed"))
    for seed in options.seeds:
        for method in options.methods:
            for place in PLACES:
                runtime = Runtime(
                    seed=seed,
                    data_root=options.data_root,
                    runs=options.runs,
                    tracking="none",
                    workers=0,
                    log_every=50,
                    save_every=200,
                )
                result = run_one(f"{method}_{place}", taught_at(method, place), runtime)
                keep(RESULTS, result | {"method": method, "labels_at": place}, ("method", "labels_at", "seed"))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a method and place of its labels."""
    commits = sorted({short_commit(result["commit"]) for result in results})
    devices = sorted({result["device"] for result in results})
    lines = [
        f"{', '.join(devices)}, 1 thread; commits {', '.join(commits)}.",
        "",
        "| method | labels at | seeds | eleven classes | seven categories | pole | person | step, ms | ratio | held at "
        "most, MiB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    ways = {(one["method"], one["labels_at"]): one for one in results if one["seed"] is None}
    for (method, place), way in sorted(ways.items(), key=lambda item: (item[0][0], PLACES.index(item[0][1]))):
        runs = [
            one["scores"]
            for one in results
            if one["seed"] is not None and (one["method"], one["labels_at"]) == (method, place)
        ]
        classes = [[scores[protocol]["miou"] for scores in runs] for protocol in PROTOCOLS]
        classes += [[scores["streets11"]["per_class"][name] for scores in runs] for name in ("pole", "person")]
        low, median, high = way["ms"]
        lines.append(
            f"| {method} | {place} | {len(runs)} | {' | '.join(map(mean_and_spread, classes))} "
            f"| {median:.0f} ({low:.0f} – {high:.0f}) | {median / ways[method, 'pixels']['ms'][1]:.2f} "
            f"| {way['kept'] / 2**20:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    exits_cleanly(main)
