"""Whether a run may have its folder: it begins there, goes on from a checkpoint, is finished already, or is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

from da_toolkit.errors import UserError
from da_toolkit.files import write_json
from da_toolkit.ranks.launch import restarted
from da_toolkit.recipe.as_json import flatten
from da_toolkit.recipe.recipe import Recipe
from da_toolkit.runs.checkpoint import Checkpoints
from da_toolkit.runs.runtime import Runtime


def finished_result(folder: Path, recipe: Recipe, runtime: Runtime) -> dict[str, Any] | None:
    """What a finished run of the same settings came to, where --resume finds one: nothing is left to train."""
    file = folder / "result.json"
    if not runtime.resume or not file.exists() or differences(folder / "recipe.json", recipe):
        return None
    result = _kept(file)
    if not isinstance(result, dict) or "scores" not in result:
        raise UserError(f"{file} is damaged (it holds no scores). Start anew with --overwrite.")
    print(f"{folder} is finished already; its result stands.")
    return result


def check_resumes(folder: Path, checkpoints: Checkpoints, runtime: Runtime) -> None:
    """Raises `UserError` where --resume finds no run: before anything is built, and again once the folder is held."""
    if runtime.resume and not (folder / "result.json").exists() and not checkpoints.files():
        raise UserError(f"--resume: there is no checkpoint in {checkpoints.folder}. Start the run without --resume.")


def claim(folder: Path, checkpoints: Checkpoints, recipe: Recipe, runtime: Runtime) -> bool:
    """Make the run's folder, or refuse it; whether the run goes on from its checkpoint.

    Raises `UserError`: nothing is deleted unless asked.
    """
    settings = folder / "recipe.json"
    check_resumes(folder, checkpoints, runtime)
    if runtime.overwrite and folder.exists() and not restarted():
        shutil.rmtree(folder)
    finished = (folder / "result.json").exists()
    resumes = bool(checkpoints.files()) and not finished
    if finished:
        changed = differences(settings, recipe)
        what = f"finished run of other settings ({changed})" if changed else "finished run"
        raise UserError(
            f"The folder {folder} already holds a {what}. Pass --overwrite to delete it and start anew, or "
            "another --runs or --seed."
        )
    if resumes and (changed := differences(settings, recipe)):
        raise UserError(
            f"The recipe is not the one that {folder} was begun with: {changed}. Resume with the old "
            "settings, or start anew in another --runs folder, or with --overwrite."
        )
    write_json(settings, recipe.to_json())
    return resumes


def differences(file: Path, recipe: Recipe) -> str:
    """The first settings of `recipe` that are not those in `file`; raises `UserError` if that is damaged."""
    kept, now = (dict(flatten(tree)) for tree in (_kept(file), recipe.to_json()))
    missing = "(none)"
    changed = [
        f"{name}: {kept.get(name, missing)} -> {now.get(name, missing)}"
        for name in {**kept, **now}
        if kept.get(name, missing) != now.get(name, missing)
    ]
    more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
    return "; ".join(changed[:5]) + more


def _kept(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}). Start anew with --overwrite.") from error
