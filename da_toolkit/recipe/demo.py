"""The demo version of any recipe: its method on the embedded street world, in minutes."""

import dataclasses
from pathlib import Path

from da_toolkit.data.streets import Streets
from da_toolkit.data.transforms import Augmentation
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.models.deeplab import LightDeepLabV3Plus
from da_toolkit.recipe.recipe import Recipe
from da_toolkit.settings.optim import AdamW, LearningRate

STEPS = 300
SIZE = (96, 192)
LR_OF_TRAINED = 1e-4
LR = 2e-3
"""Ten times that of the recipes for real pairs, so that 300 steps are enough."""


def demo_version(recipe: Recipe, steps: int = STEPS) -> Recipe:
    """The recipe with the street world, a small network and a short schedule; its method is untouched.

    One that starts from the run of another recipe starts from that recipe's demo, at a rate for trained networks.
    """
    labels = recipe.source.labels if recipe.source.labels in ("cityscapes19", "synthia16") else "cityscapes19"
    trained = recipe.method.starts_trained
    return dataclasses.replace(
        recipe,
        source=Streets(size=SIZE, look="game", labels=labels),
        target=Streets(size=SIZE, look="camera", labels=labels),
        model=recipe.model.with_network(
            LightDeepLabV3Plus(weights=_demo_run(recipe) if trained else "packaged", width=48, aux=recipe.model.aux)
        ),
        schedule=recipe.schedule.scaled(steps),
        optimizer=AdamW(lr=LR_OF_TRAINED, head_multiplier=1) if trained else AdamW(lr=LR, head_multiplier=10),
        learning_rate=LearningRate(warmup=min(20, steps // 4)),
        batch_size=2,
        accumulate=1,
        source_augmentation=Augmentation(flip=True),
        target_augmentation=Augmentation(flip=True),
        evaluation=Evaluation(),
        reported=None,
    )


def _demo_run(recipe: Recipe) -> str:
    """The demo of the run that a recipe's weights name: runs/source_only_gta_demo/0 of runs/source_only_gta/0."""
    run = Path(recipe.model.weights)
    if not run.parent.name:  # no run is named, which is told when the run begins
        return recipe.model.weights
    return str(run.parent.with_name(f"{run.parent.name}_demo") / run.name)
