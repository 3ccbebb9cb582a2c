"""Recipe files: found by name or path, and loaded with whatever is wrong in them told by file and line."""

import dataclasses
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from da_toolkit import own_code
from da_toolkit.catalogue import recipe_files
from da_toolkit.errors import UserError, unknown_name
from da_toolkit.recipe.recipe import Recipe
from da_toolkit.settings.values import check_values


def find_recipe(name_or_path: str) -> Path:
    """A recipe's file, by path or by name. Raises `UserError` with the nearest name."""
    path, known = Path(name_or_path), recipe_files()
    if path.is_file():
        return path
    if path.stem in known and path.suffix in ("", ".py") and path.parent.name in ("", "recipes"):
        return known[path.stem]  # so that recipes/NAME.py works from any folder
    if path.suffix == ".py":
        raise UserError(f"The recipe file {path} does not exist. `python -m da_toolkit.run --list` shows the names.")
    if Path(f"{name_or_path}.py").is_file():
        raise UserError(f"{name_or_path!r} is no recipe's name. Did you mean the file {path}.py?")
    raise unknown_name("recipe", name_or_path, known)


def load_recipe(path: Path) -> Recipe:
    """Run a recipe file and return its `recipe`. Raises `UserError` that names the file and the line."""
    spec = importlib.util.spec_from_file_location(f"{own_code.PREFIX}{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"The recipe {path} is not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where the command line looks for the source of a recipe's own classes
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"Recipe {path}, line {error.lineno}: {error.msg}. Mend the syntax there.") from error
    except Exception as error:  # a recipe is the user's code: anything it raises is theirs to see, in one line
        where = own_code.line_of(error) or path
        what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}."
        what = _wrong_type(error) or _unknown_setting(error, vars(module)) or what
        raise UserError(f"Recipe {where}: {what}") from error
    if not hasattr(module, "recipe"):
        raise UserError(f"Recipe {path} must define `recipe = Recipe(...)`, and defines no `recipe`.")
    if not isinstance(module.recipe, Recipe):
        raise UserError(f"Recipe {path} must define `recipe = Recipe(...)`; its `recipe` is {module.recipe!r}.")
    recipe: Recipe = module.recipe
    return recipe


def _wrong_type(error: Exception) -> str:
    """What `check_values` says of the settings whose own check stumbled over a value of a wrong type, if one did."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        settings = frame.f_locals.get("self")
        if frame.f_code.co_name == "__post_init__" and dataclasses.is_dataclass(settings):
            try:
                check_values(settings, f"{type(settings).__name__}.")
            except UserError as told:
                return str(told)
            except (AttributeError, NameError):  # a setting that is not set yet, or annotated for type checkers alone
                continue
    return ""


def _unknown_setting(error: Exception, names: dict[str, Any]) -> str:
    """The nearest settings of a class among `names` that was given one it does not have, if that is the error."""
    found = re.fullmatch(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'.*", str(error))
    kind = names.get(found[1]) if found else None
    if found is None or not dataclasses.is_dataclass(kind):
        return ""
    settable = (entry.name for entry in dataclasses.fields(kind) if entry.init)
    return str(unknown_name(f"setting of {found[1]}", found[2], settable))
