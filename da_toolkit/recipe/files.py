"""Recipe files: found by name or path, and loaded with whatever is wrong in them told by file and line."""

import dataclasses
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from da_toolkit import own_code
from da_toolkit.catalogue import recipe_files
from da_toolkit.errors import UserError, meant, unknown_name
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
        near = meant(path.name, [file.name for file in path.parent.glob("*.py")])
        raise UserError(
            f"The recipe file {path} does not exist.{near} `python -m da_toolkit.run --list` shows the names."
        )
    if Path(f"{name_or_path}.py").is_file():
        raise UserError(f"{name_or_path!r} is no recipe's name. Did you mean the file {path}.py?")
    raise UserError(f"{unknown_name('recipe', name_or_path, known)} `da-toolkit run --list` shows them.")


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
        what = _wrong_type(error) or _unknown_setting(error) or what
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


def _unknown_setting(error: Exception) -> str:
    """The nearest settings of the class that was given one it does not have, if that is the error."""
    found = re.match(r"(.+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if found is None:
        return ""
    # By the name that Python tells: a recipe may know the class by another, within a module, or not at all.
    named = (kind for kind in _subclasses(object) if kind.__qualname__ == found[1] and dataclasses.is_dataclass(kind))
    known = [(kind, [entry.name for entry in dataclasses.fields(kind) if entry.init]) for kind in named]
    for kind, settings in reversed(known):  # the newest first, should several have that name
        if found[2] not in settings:
            return str(unknown_name(f"setting of {kind.__name__}", found[2], settings))
    return ""


def _subclasses(kind: type) -> Iterator[type]:
    """All classes below one that this process knows."""
    below: type
    for below in type.__subclasses__(kind):
        yield below
        yield from _subclasses(below)
