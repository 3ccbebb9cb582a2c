"""What a round's pass over the target takes, against a plain loop of loading and the network: milliseconds an image.

    python benchmarks/target_pass.py [--frames 64] [--rounds 3]

On the demo network, one thread, superpixels made before; ways take turns. A pass is all that a method does as a stage
begins again: the network over every target image, votes or thresholds, what they freeze. RPT's clusters, which are made
once and kept, are not in it (`rpt_cost.py` has them).
"""

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from ways import rows

from da_toolkit.data.superpixels import SuperpixelCache
from da_toolkit.errors import exits_cleanly
from da_toolkit.files import write_json
from da_toolkit.recipe import Recipe, Schedule, Stage, load_recipe, recipe_files
from da_toolkit.recipe.demo import demo_version
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit
from da_toolkit.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "target_pass.json"
STAGE = Stage("round 1", 10_000, round=1)
RECIPES = ("cbst_gta", "rpt_gta", "crst_gta", "iast_gta", "proda_gta")
PLAIN = "plain loop"


def recipe_of(name: str, frames: int) -> Recipe:
    """The recipe's demo in its first round, with so many target frames."""
    recipe = demo_version(load_recipe(recipe_files()[name]))
    target = dataclasses.replace(recipe.target, frames=frames)
    return dataclasses.replace(recipe, target=target, schedule=Schedule((STAGE,)))


def plain_loop(trainer: Trainer) -> Callable[[], None]:
    def run() -> None:
        trainer.model.eval()
        with torch.inference_mode():
            for batch in trainer.images.target_pass():
                trainer.network(batch.image)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ways: dict[str, Callable[[], Any]] = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DA_TOOLKIT_CACHE"] = cache
        for name in RECIPES:
            recipe = recipe_of(name, options.frames)
            data = recipe.source.build("train"), recipe.target.build("train")
            if recipe.method.superpixels is not None:
                SuperpixelCache(recipe.method.superpixels, recipe.target.size).survey(data[1])
            trainer = Trainer(recipe, Fabric(devices=1), *data)
            ways.setdefault(PLAIN, plain_loop(trainer))
            ways[name.removesuffix("_gta")] = lambda trainer=trainer: trainer.begin(STAGE)
        ms: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(options.rounds + 1):
            for way, run in ways.items():
                begin = time.perf_counter()
                run()
                if number:  # the first round makes RPT's clusters
                    ms[way].append(1000 * (time.perf_counter() - begin) / options.frames)
    result = {"frames": options.frames, "ms": ms, "load": os.getloadavg()[0], **environment(torch.device("cpu"))}
    write_json(RESULTS, result)
    print(table(result))


def table(result: dict[str, Any]) -> str:
    """Markdown: milliseconds an image, and of the plain loop's."""
    lines = [
        f"{result['frames']} images, one thread. {result['device']}, 1-minute load of the machine {result['load']:.1f} "
        f"on {result['cpus']} CPUs, commit {short_commit(result['commit'])}.",
        "",
        "| pass of | ms an image | of the plain loop's |",
        "| --- | ---: | ---: |",
    ]
    return "\n".join([*lines, *rows(result["ms"], 1)])


if __name__ == "__main__":
    exits_cleanly(main)
