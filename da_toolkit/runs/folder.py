"""Reading a run back from its folder: recipe, run settings, network (`report.runs` reads results)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file
from torch import Tensor

from da_toolkit.data.labels import LabelSpace
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
    """The run's network with its final weights, on the CPU.

    Raises:
        UserError: the file is missing, damaged, or another network's.
    """
    file, space = run / weights, recipe.target.label_space
    if not file.exists():
        raise UserError(f"{file} is missing: a run gets it at its end. Copy it back, or give the run's command again.")
    model = recipe.model.with_weights("none").build(len(space))
    try:
        stored = load_file(file)
    except Exception as error:  # safetensors raises a type of its own for a damaged file
        raise UserError(f"{file} cannot be loaded ({error}). Copy it again, or run the recipe again.") from error
    if why := _unlike(model.state_dict(), stored, space):
        raise UserError(
            f"{file} holds another network than {run / 'recipe.json'} describes: {why}. The two are of different runs; "
            "put the run's own weights there."
        )
    model.load_state_dict(stored)
    return model.eval()


def _unlike(wanted: dict[str, Tensor], stored: dict[str, Tensor], space: LabelSpace) -> str:
    """In what the stored tensors differ from a network's; nothing if they fit."""
    missing, extra = wanted.keys() - stored.keys(), stored.keys() - wanted.keys()
    shapes = [key for key in wanted if key in stored and stored[key].shape != wanted[key].shape]
    if not missing and not extra and not shapes:
        return ""
    counts = {stored[key].shape[0] if wanted[key].shape[0] == len(space) else -1 for key in shapes}
    if not missing and not extra and len(counts) == 1 and -1 not in counts:  # the classifiers alone
        return f"it decides between {counts.pop()} classes, the recipe between the {len(space)} of {space.name}"
    first = min(missing | extra | set(shapes))
    return (
        f"{len(missing)} tensors are missing, {len(extra)} unknown, {len(shapes)} of another shape, such as {first!r}"
    )


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
