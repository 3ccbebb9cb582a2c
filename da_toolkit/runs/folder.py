"""Reading a run back from its folder: recipe, run settings, network (`report.runs` reads results)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file

from da_toolkit.errors import UserError
from da_toolkit.models.segmenter import Segmenter
from da_toolkit.recipe.recipe import Recipe
from da_toolkit.runs.runtime import Runtime

T = TypeVar("T")


def load_recipe_of(run: Path) -> Recipe:
    """The recipe as it was trained. Raises `UserError` naming the file, as the other readers here do."""
    return _known(run, "recipe.json", Recipe.from_json)


def load_runtime(run: Path) -> Runtime:
    """The run settings that it was begun with."""
    return _known(run, "environment.json", lambda processes: Runtime.from_json(processes[0]["runtime"]))


def load_network(run: Path, recipe: Recipe, weights: str = "model.safetensors") -> Segmenter:
    """The run's network with its final weights, on the CPU."""
    model = recipe.model.with_weights("none").build(len(recipe.target.label_space))
    try:
        model.load_state_dict(load_file(run / weights))
    except Exception as error:  # safetensors raises a type of its own for a damaged file
        raise UserError(f"{run / weights} cannot be loaded ({error}). Run the recipe again.") from error
    return model.eval()


def _known(run: Path, name: str, build: Callable[[Any], T]) -> T:
    file = run / name
    try:
        contents = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{file} cannot be read ({error.strerror}): {run} is not the folder of a run, such as runs/adaptseg_gta/0."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}). Run the recipe again.") from error
    try:
        return build(contents)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
        raise UserError(f"{file} holds what this version does not know ({error}).") from error
