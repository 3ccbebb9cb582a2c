"""da-toolkit demo: source-only, adapted and oracle side by side on the embedded street world, in minutes."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from da_toolkit.commands.parsing import parsed
from da_toolkit.data.figures import prediction_grid, save_png
from da_toolkit.evaluation.predict import predict_images
from da_toolkit.evaluation.protocols import protocols_for
from da_toolkit.recipe.demo import STEPS, demo_version
from da_toolkit.recipe.files import find_recipe, load_recipe
from da_toolkit.recipe.recipe import Recipe
from da_toolkit.report.table import summarize, terminal_tables
from da_toolkit.runs.claim import differences
from da_toolkit.runs.folder import load_network
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.terminal import show

LOOKS, VALIDATORS = 4, 10
"""Evaluations of each run, and images for the scores that need no target labels in each of them."""
TRIO = {"source only": "source_only_gta", "adapted": "adaptseg_gta", "oracle": "oracle_gta"}


@dataclass(frozen=True)
class Command:
    """Train source-only, adapted and oracle on the street world, print the table, write the picture grid."""

    steps: int = STEPS
    """Training steps of each run."""
    runs: Path = Path("runs/demo")
    """Folder of the runs."""
    tracking: str = "mlflow"
    """"mlflow", "none" or a server's URI."""


def main(words: Sequence[str], prog: str) -> None:
    """Run the trio, print the table, write the picture grid."""
    options = parsed(Command, words, prog)
    console = Console()
    results, predictions = [], {}
    for title, name in TRIO.items():
        console.rule(f"{title}: {name}")
        recipe = _with_looks(demo_version(load_recipe(find_recipe(name)), options.steps))
        session = Session(name, recipe, _runtime(options, name, recipe))
        results.append(session.run())
        predictions[title], images, labels = _predictions(session)
    space = recipe.target.label_space
    rows = summarize(results, protocols_for(space)[0].name)
    for table in terminal_tables(rows, f"streets, game to camera, {options.steps} steps (demo; not a benchmark)"):
        show(table)
    picture = options.runs / "pictures" / "demo.png"
    save_png(picture, prediction_grid(images, {**predictions, "label": labels}, space))
    (options.runs / "results.json").write_text(json.dumps(results, indent=2))
    console.print(f"pictures: {picture}\nruns: {options.runs}")


def _runtime(options: Command, name: str, recipe: Recipe) -> Runtime:
    """Goes on with what an earlier call began, unless that was of other settings."""
    before = options.runs / name / "0" / "recipe.json"
    other = before.exists() and bool(differences(before, recipe))
    return Runtime(runs=options.runs, tracking=options.tracking, overwrite=other, workers=0)


def _with_looks(recipe: Recipe) -> Recipe:
    """Scored four times, so that the page of `compare` has curves and choices to show; what is trained is the same."""
    every = max(1, recipe.schedule.steps // LOOKS)
    evaluation = dataclasses.replace(recipe.evaluation, every=every, validators=VALIDATORS)
    return dataclasses.replace(recipe, evaluation=evaluation)


def _predictions(session: Session) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    val = session.open_data()[2]
    indices = range(5)
    images = [val.image(index) for index in indices]
    recipe = session.recipe
    model = load_network(session.folder, recipe)
    return (
        predict_images(model, images, recipe.evaluation, recipe.target.size, torch.device("cpu")),
        images,
        [val.label(i) for i in indices],
    )
