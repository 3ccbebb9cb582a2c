"""The accuracy matrix: recipe x seed, resumable run by run; writes results/accuracy_<pair>.json and the table.

    python benchmarks/accuracy.py camvid --data-root ../shared/data/carla2camvid
    python benchmarks/accuracy.py streets --seeds 0 1 2 --jobs 2
    python benchmarks/accuracy.py streets --engine ray --address auto

A run whose folder holds a `result.json` is not run again; a half-done one is resumed from its checkpoint. Each run is
also looked at four times on its way, which changes nothing that is trained and shows what validators would choose.
"""

import argparse
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines import ENGINES, run_all
from records import keep

from da_toolkit.errors import UserError, exits_cleanly, unknown_name
from da_toolkit.evaluation.protocols import protocols_for
from da_toolkit.recipe import Recipe, Schedule, find_recipe, load_recipe, recipe_files
from da_toolkit.recipe.demo import demo_version
from da_toolkit.report.choosing import choosers
from da_toolkit.report.comparison import choosing_grid
from da_toolkit.report.grid import to_markdown
from da_toolkit.report.runs import Run
from da_toolkit.report.table import failing_grid, markdown, summarize
from da_toolkit.runs.checkpoint import Checkpoints
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.shareable import short_commit

HERE = Path(__file__).parent
METHODS = [
    *("source_only", "target_bn", "lab", "fda"),
    *("adaptseg", "adaptseg_ls", "fada", "minent", "advent", "maxsquare"),
    *("cbst", "crst", "crst_soft", "iast", "proda", "dacs", "daformer", "mic", "advent_daformer"),
    *("adv_rpt", "advent_rpt", "dacs_rpt", "adv_mic", "adv_mic_rpt"),
    *("rpt_wide", "advent_rpt_wide", "advent_rpt_rounds", "advent_dacs_rpt", "copy_paste", "copy_paste_rpt"),
    *("tent", "source_free_shot", "cotta"),
    "oracle",
]
START = "source_only"
"""Whose run of the same seed source-free methods start from: it must be there, or stand earlier among --methods."""
LOOKS = 4
PAIRS = {
    "camvid": "CARLA -> CamVid val, 10 classes, labels at 480x360. The files are a lossy copy (480x360, JPEG q90).",
    "carla": "CARLA -> Cityscapes at 256x128 val (Frankfurt and Lindau), lossy labels, 11 classes: not comparable with "
    "published Cityscapes scores.",
    "streets": "Street world, game -> camera val, 19 classes, the demo network.",
}


@dataclass(frozen=True)
class Task:
    """One run of the matrix."""

    method: str
    recipe: Recipe
    runtime: Runtime


def named(method: str, pair: str) -> str:
    """The name of the method's recipe on that pair; the street world has the settings of GTA5's."""
    return f"{method}_{'gta' if pair == 'streets' else pair}"


def methods_on(pair: str) -> list[str]:
    """Those of `METHODS` that have a recipe for the pair."""
    known = recipe_files()
    return [method for method in METHODS if named(method, pair) in known]


def recipe_for(method: str, pair: str, steps: int | None) -> Recipe:
    """The method's recipe on that pair, at `steps` optimiser steps."""
    recipe = load_recipe(find_recipe(named(method, pair)))
    if pair == "streets":
        recipe = demo_version(recipe, steps) if steps else demo_version(recipe)
    else:
        schedule: Schedule = recipe.schedule if steps is None else recipe.schedule.scaled(steps)
        recipe = dataclasses.replace(recipe, schedule=schedule)
    every = max(1, recipe.schedule.steps // LOOKS)
    return dataclasses.replace(recipe, evaluation=dataclasses.replace(recipe.evaluation, every=every))


def started_from(recipe: Recipe, run: Path) -> Recipe:
    """The recipe with the weights of a run of this matrix."""
    return dataclasses.replace(recipe, model=recipe.model.with_weights(str(run)))


def run_task(task: Task) -> dict[str, Any]:
    """Its result, wherever this is called."""
    return run_one(task.method, task.recipe, task.runtime)


def run_one(name: str, recipe: Recipe, runtime: Runtime) -> dict[str, Any]:
    """The result of one run: read, resumed or trained."""
    folder = runtime.runs / name / str(runtime.seed)
    if (folder / "result.json").exists():
        stored = json.loads((folder / "recipe.json").read_text())
        if Recipe.from_json(stored) != recipe:
            raise UserError(f"{folder} holds a run of other settings. Remove it, or pass another --runs folder.")
        return json.loads((folder / "result.json").read_text())
    half_done = bool(Checkpoints(folder / "checkpoints").files())
    runtime = dataclasses.replace(runtime, resume=half_done, overwrite=not half_done)
    return Session(name, recipe, runtime).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pair", choices=sorted(PAIRS))
    parser.add_argument("--data-root", type=Path, help="folder that holds the data sets (not needed for streets)")
    parser.add_argument("--methods", nargs="+", help="by default all that have a recipe for the pair")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="optimiser steps of every run; by default the recipe's own")
    parser.add_argument("--runs", type=Path, help="by default runs/accuracy_<pair>")
    parser.add_argument("--tracking", default="none")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--frame-cache", type=Path, help="as the runs' own: decoded frames, with the same results")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, with an equal share of the cores each")
    parser.add_argument("--engine", choices=ENGINES, default="local", help="this machine, or a Ray cluster")
    parser.add_argument("--address", help="of the Ray cluster; by default one is started here")
    options = parser.parse_args()
    file = HERE / "results" / f"accuracy_{options.pair}.json"
    methods = options.methods or methods_on(options.pair)
    tasks = []
    for seed in options.seeds:
        for method in methods:
            try:
                recipe = recipe_for(method, options.pair, options.steps)
            except UserError as error:
                raise UserError(f"--methods {method}: {error}") from error
            runs = options.runs or Path("runs") / f"accuracy_{options.pair}"
            if recipe.method.starts_trained:
                recipe = started_from(recipe, runs / START / str(seed))
            runtime = Runtime(
                seed=seed,
                data_root=options.data_root,
                runs=runs,
                tracking=options.tracking,
                workers=options.workers,
                frame_cache=options.frame_cache,
                log_every=50,
                save_every=200,
            )
            tasks.append(Task(method, recipe, runtime))
    for result in run_all(run_task, tasks, options.engine, options.jobs, options.address):
        results = keep(file, result, ("recipe", "steps", "seed"))
    print(table(options.pair, results, protocols_for(recipe.target.label_space)[0].name))


def tables(pair: str, results: list[dict[str, Any]], protocols: tuple[str, ...]) -> str:
    """The Markdown section of one pair under several protocols."""
    return "\n\n".join(table(pair, results, protocol) for protocol in protocols)


def table(pair: str, results: list[dict[str, Any]], protocol: str) -> str:
    """The Markdown section of one pair."""
    if pair not in PAIRS:
        raise unknown_name("pair", pair, PAIRS)
    commits = sorted({short_commit(result["commit"]) for result in results})
    results = sorted(results, key=lambda result: (_place(result["recipe"]), result["seed"]))
    steps = sorted({result["steps"] for result in results})
    devices = sorted({result["device"] for result in results})
    made = f"commit {', '.join(commits)}; {', '.join(devices)}"
    budget = f"Protocol {protocol}; {', '.join(map(str, steps))} steps; {made}."
    rows = summarize(results, protocol)
    scores = f"### {pair}\n\n{PAIRS[pair]} {budget}\n\n{markdown(rows)}"
    if any(row.fails for row in rows):
        scores += f"\nWhat each row fails at:\n\n{to_markdown(failing_grid(rows))}"
    looks = [Run(HERE, result).evaluations for result in results]
    choosing = choosing_grid(choosers(looks, protocol), "choosing")
    if choosing is None:
        return scores
    return f"{scores}\nChoosing one of a run's looks without target labels:\n\n{to_markdown(choosing)}"


def _place(recipe: str) -> int:
    """The floor first, the ceiling last."""
    order = [method for method in METHODS if recipe.startswith(method)]
    return METHODS.index(max(order, key=len)) if order else len(METHODS) - 1


if __name__ == "__main__":
    exits_cleanly(main)
