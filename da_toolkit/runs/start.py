"""Whether a run may begin as its recipe says: what a method that reads no source needs instead of one."""

import os
from collections.abc import Sequence
from pathlib import Path

from da_toolkit.catalogue import recipe_files
from da_toolkit.errors import UserError
from da_toolkit.models.backbones import WORDS
from da_toolkit.recipe.recipe import Recipe


def check_start(recipe: Recipe, best: str) -> None:
    """Raises `UserError`, before anything is built, for a run that cannot begin.

    Args:
        best: by which score the run keeps its best weights.
    """
    if best == "source_score" and not recipe.method.opens_source:
        raise UserError(
            "--best source_score needs source images, and this method reads none: choose another one, such as entropy."
        )
    weights = recipe.model.weights
    if not recipe.method.starts_trained or (weights and os.path.exists(weights)):
        return
    named = f"model.weights {weights!r} is " + ("no run's" if weights in WORDS else "not there")
    raise UserError(f"{_NEEDS}, and {named}. {_remedy(weights)}")


def check_trained(recipe: Recipe, untrained: Sequence[str]) -> None:
    """Raises `UserError` where a part of the network has no trained weights and the method could teach it nothing.

    Args:
        untrained: those parts, each with the reason.
    """
    if recipe.method.starts_trained and untrained:
        raise UserError(
            f"{_NEEDS}, and not all of it is in model.weights {recipe.model.weights!r}: {'; '.join(untrained)}. Give "
            "the folder of a run with the same network and the same classes, or set this recipe's model to that run's."
        )


_NEEDS = "This method reads no source, so it needs a whole network that was trained on one"


def _remedy(weights: str) -> str:
    """Which run to train and to name: the one that `weights` speaks of, else source-only training."""
    run = Path(weights).parent.name if weights not in WORDS else ""
    name, demo = run.removesuffix("_demo"), " --demo" if run.endswith("_demo") else ""
    if name not in recipe_files():
        name, demo = "source_only_gta", ""
    folder = f"runs/{name}{demo and '_demo'}/0"
    return (
        f"Train one first (python -m da_toolkit.run {name}{demo}), and set --model.weights to its folder, such as "
        f"{folder}."
    )
