"""The demo: any recipe on the embedded street world, and three of them side by side in minutes."""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from da_toolkit.data.streets import Streets
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import exits_cleanly
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.evaluation.predict import predict_images
from da_toolkit.evaluation.protocols import protocols_for
from da_toolkit.models.deeplab import LightDeepLabV3Plus
from da_toolkit.recipe import Recipe, find_recipe, load_recipe
from da_toolkit.report.figures import prediction_grid, save_png
from da_toolkit.report.table import summarize, terminal_tables
from da_toolkit.training.optim import AdamW, LearningRate
from da_toolkit.training.run_folder import load_network
from da_toolkit.training.runtime import Runtime
from da_toolkit.training.session import Session

STEPS = 400
SIZE = (96, 192)
TRIO = {"source only": "source_only_gta", "adapted": "adaptseg_gta", "oracle": "oracle_gta"}


def demo_version(recipe: Recipe, steps: int = STEPS) -> Recipe:
    """The recipe with the street world, a small network and a short schedule; its method is untouched."""
    labels = recipe.source.labels if recipe.source.labels in ("cityscapes19", "synthia16") else "cityscapes19"
    return dataclasses.replace(
        recipe,
        source=Streets(size=SIZE, look="game", labels=labels),
        target=Streets(size=SIZE, look="camera", labels=labels),
        model=LightDeepLabV3Plus(weights="packaged", width=48, aux=recipe.model.aux),
        schedule=recipe.schedule.scaled(steps),
        optimizer=AdamW(lr=1.5e-3, head_multiplier=2),
        learning_rate=LearningRate(warmup=min(20, steps // 4)),
        batch_size=2,
        accumulate=1,
        source_augmentation=Augmentation(flip=True),
        target_augmentation=Augmentation(flip=True),
        evaluation=Evaluation(),
        reported=None,
    )


def main() -> None:
    """Run the trio, print the table, write the picture grid."""
    parser = argparse.ArgumentParser(prog="python -m da_toolkit.demo", description=main.__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"training steps of each run (default {STEPS})")
    parser.add_argument("--runs", type=Path, default=Path("runs/demo"), help="folder of the runs (default runs/demo)")
    parser.add_argument("--tracking", default="mlflow", help="mlflow, none or a server's URI (default mlflow)")
    options = parser.parse_args()
    console = Console()
    runtime = Runtime(runs=options.runs, tracking=options.tracking, overwrite=True, workers=0)
    results, predictions = [], {}
    for title, name in TRIO.items():
        console.rule(f"{title}: {name}")
        recipe = demo_version(load_recipe(find_recipe(name)), options.steps)
        session = Session(name, recipe, runtime)
        results.append(session.run())
        predictions[title], images, labels = _predictions(session)
    space = recipe.target.label_space
    rows = summarize(results, protocols_for(space)[0].name)
    for table in terminal_tables(rows, f"streets, game to camera, {options.steps} steps (demo; not a benchmark)"):
        console.print(table)
    picture = options.runs / "pictures" / "demo.png"
    save_png(picture, prediction_grid(images, {**predictions, "label": labels}, space))
    (options.runs / "results.json").write_text(json.dumps(results, indent=2))
    console.print(f"pictures: {picture}\nruns: {options.runs}")


def _predictions(session: Session) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    val = session.open_data()[2]
    indices = range(5)
    images = [val.image(index) for index in indices]
    recipe = session.recipe
    model = load_network(session.folder, recipe)
    return predict_images(model, images, recipe, torch.device("cpu")), images, [val.label(i) for i in indices]


if __name__ == "__main__":
    exits_cleanly(main)
