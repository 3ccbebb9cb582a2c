"""Every GTA5 and SYNTHIA -> Cityscapes recipe trains 20 steps and is scored, through the official on-disk layouts.

    python benchmarks/official_layouts.py

The data are streets frames written as GTA5, RAND_CITYSCAPES and cityscapes folders; networks are the recipes' own
with random weights, inputs an eighth of the published sizes. It shows that the recipes run and what a step costs;
the scores of 20 steps mean nothing, and none of the published results is reproduced here.
"""

import argparse
import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from records import keep

from da_toolkit.commands.prepare import export_streets
from da_toolkit.errors import exits_cleanly
from da_toolkit.recipe import Recipe, find_recipe, load_recipe, recipe_files
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.shareable import short_commit

RESULTS = Path(__file__).parent / "results" / "official_layouts.json"
STEPS = 20
SHRINK = 8


def reduced(recipe: Recipe) -> Recipe:
    """The recipe with random weights, 20 steps and inputs and crops an eighth of the published size."""
    changes: dict[str, Any] = {"model": recipe.model.with_weights("none")}
    for name in ("source", "target"):
        domain, augmentation = getattr(recipe, name), getattr(recipe, f"{name}_augmentation")
        changes[name] = dataclasses.replace(domain, size=shrunk(domain.size))
        if augmentation.crop:
            changes[f"{name}_augmentation"] = dataclasses.replace(augmentation, crop=shrunk(augmentation.crop))
    return dataclasses.replace(recipe, schedule=recipe.schedule.scaled(STEPS), **changes)


def trained(name: str, runtime: Runtime) -> str:
    """The folder of a run for a source-free recipe to start from: source-only training, in the same few steps."""
    other = f"source_only_{name.rpartition('_')[2]}"
    session = Session(other, reduced(load_recipe(find_recipe(other))), dataclasses.replace(runtime, overwrite=True))
    session.run()
    return str(session.folder)


def shrunk(size: tuple[int, int]) -> tuple[int, int]:
    height, width = size
    return height // SHRINK, width // SHRINK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24, help="training frames of each domain (default 24)")
    parser.add_argument("--recipes", nargs="+", help="by default all; rows of others stay as they are")
    options = parser.parse_args()
    wanted = options.recipes or [name for name in recipe_files() if name.endswith(("_gta", "_synthia"))]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        export_streets(root / "data", options.frames, (128, 256))
        for name in wanted:
            runtime = Runtime(data_root=root / "data", runs=root / "runs", tracking="none", workers=1)
            recipe = reduced(load_recipe(find_recipe(name)))
            if recipe.method.starts_trained:
                start = trained(name, dataclasses.replace(runtime, runs=root / "starts"))
                recipe = dataclasses.replace(recipe, model=recipe.model.with_weights(start))
            session = Session(name, recipe, runtime)
            result = session.run()
            logged = [json.loads(line) for line in (session.folder / "metrics.jsonl").read_text().splitlines()]
            row = {**result, "losses": logged[-2], "data": "streets in the official layouts"}
            results = keep(RESULTS, row, ("recipe",))
            for made in (root / "runs", root / "starts"):  # a ResNet-101's run takes more than a gigabyte
                shutil.rmtree(made, ignore_errors=True)
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: what ran, its last losses, and its speed."""
    commits = sorted({short_commit(result["commit"]) for result in results})
    told = f"{len(results)} recipes; commits {', '.join(commits)}."
    results = sorted(results, key=lambda result: result["recipe"])
    heads = "| recipe | steps | scored under | last losses | images/s |"
    lines = [told, "", heads, "| --- | ---: | --- | --- | ---: |"]
    for result in results:
        losses = {
            key: value for key, value in result["losses"].items() if key not in ("step", "time", "images_per_second")
        }
        shown = ", ".join(f"{key} {value:.3g}" for key, value in losses.items())
        rate = result["losses"]["images_per_second"]
        lines.append(
            f"| {result['recipe']} | {result['steps']} | {', '.join(result['scores'])} | {shown} | {rate:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    exits_cleanly(main)
