"""The few names that people reach for in Python: `import da_toolkit as dt`, then `dt.load_recipe`, `dt.train`, ..."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from da_toolkit.errors import UserError, unknown_name
from da_toolkit.ranks.parallel import from_main
from da_toolkit.recipe import files
from da_toolkit.recipe.demo import STEPS, demo_version
from da_toolkit.recipe.recipe import Recipe
from da_toolkit.report import comparison
from da_toolkit.report.runs import find_runs
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.runs.trained import TrainedRun


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe by its name or file.

    Examples:
        >>> import da_toolkit as dt
        >>> recipe = dt.load_recipe("adaptseg_gta")
        >>> recipe.batch_size
        1

    Raises:
        UserError: there is none of that name (the nearest is told), or the file is wrong.
    """
    return files.load_recipe(files.find_recipe(str(name_or_path)))


def train(
    recipe: Recipe | str | Path, name: str = "", demo: bool = False, steps: int | None = None, **runtime: Any
) -> TrainedRun:
    """Train and score a recipe; an unfinished run of it goes on. What it wrote is in the folder of the returned run.

    Examples:
        >>> import da_toolkit as dt
        >>> run = dt.train("source_only_gta", demo=True, steps=2, tracking="none", workers=0)
        >>> run.folder
        PosixPath('runs/source_only_gta_demo/0')

    Args:
        recipe: a recipe, or its name or file.
        name: of the run; by default the recipe's own where it is given by name, with "_demo" for the demo version.
        demo: on the street world with a small network and few steps, as `da-toolkit run --demo`.
        steps: of the whole run, with the recipe's stages in their proportion; by default as the recipe says.
        runtime: settings of the run by name, as the command line has them: seed, data_root, runs, tracking, ...

    Raises:
        UserError: a setting that does not exist or is wrong, missing data, or a folder that holds another run.
    """
    if not isinstance(recipe, Recipe | str | Path):
        raise UserError(f"train: the recipe is a Recipe, or one's name or file; got {recipe!r}.")
    if not isinstance(recipe, Recipe):
        name = name or Path(recipe).stem + "_demo" * demo
        recipe = load_recipe(recipe)
    if not name:
        raise UserError("train: a recipe that is no file needs a name for its run: train(recipe, name='mine').")
    try:
        settings = Runtime(**runtime)
    except TypeError:  # a name that Runtime lacks
        unknown = next(name for name in runtime if name not in Runtime.__dataclass_fields__)
        raise unknown_name("setting of a run", unknown, Runtime.__dataclass_fields__) from None
    if (settings.devices or 1) > 1:
        raise UserError(
            "train: `devices` starts processes, each of which would run this script. Use `da-toolkit run --devices "
            f"{settings.devices}`, or start the script with torchrun and leave `devices` out."
        )
    if demo:
        recipe = demo_version(recipe, STEPS if steps is None else steps)
    elif steps is not None:
        recipe = dataclasses.replace(recipe, schedule=recipe.schedule.scaled(steps))
    session = Session(name, recipe, settings)
    session.run()
    from_main(lambda: None)  # the other ranks wait until the first has written the result
    return TrainedRun(session.folder)


def load_run(folder: str | Path, best: bool = False, recipe: str | Path = "") -> TrainedRun:
    """A finished run, whose `predict` takes images of your own.

    Examples:
        >>> import numpy as np
        >>> import da_toolkit as dt
        >>> run = dt.load_run("runs/source_only_gta_demo/0")
        >>> prediction = run.predict(np.zeros((96, 192, 3), np.uint8))
        >>> prediction.classes.shape, prediction.names[0]
        ((96, 192), 'road')

    Args:
        folder: RUNS/RECIPE/SEED, such as "runs/adaptseg_gta/0".
        best: use the weights that the run's --best chose, instead of the last ones.
        recipe: the recipe's file, if it defines classes of its own.

    Raises:
        UserError: no finished run lies there.
    """
    if recipe:
        load_recipe(recipe)
    return TrainedRun(folder, best)


def compare(
    *places: str | Path | Sequence[str | Path], protocol: str = "", baseline: str = ""
) -> list[comparison.Comparison]:
    """Finished runs side by side, one comparison for each scoring protocol.

    Examples:
        >>> import da_toolkit as dt
        >>> [comparison] = dt.compare("runs")
        >>> [row.recipe for row in comparison.rows]
        ['source_only_gta_demo']

    Args:
        places: folders of runs, or folders that hold runs at any depth, also in lists.
        protocol: only this one.
        baseline: the recipe that differences are against; by default the source-only one if there is exactly one.

    Raises:
        UserError: no finished runs, or an unknown protocol or baseline.
    """
    listed = [each for place in places for each in ([place] if isinstance(place, str | Path) else place)]
    runs, _ = find_runs([Path(place) for place in listed])
    return comparison.compare(runs, protocol, baseline)
