"""Recipe files are their users' own code: what it raises is told in a sentence with the file and the line."""

import inspect
import re
import sys
import traceback
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

PREFIX = "da_toolkit_recipe_"
"""What the modules of recipe files are called, in front of the file's name."""


def line_of(error: BaseException) -> str | None:
    """The last line of a recipe file that an error passed, as "FILE, line N"; none if it passed none."""
    files = _files()
    passed = [(Path(file), line) for file, line in _places(error) if file in files]
    if not passed:
        return None
    return _shown(*passed[-1])


def told(error: BaseException) -> str | None:
    """The sentence on an error that a recipe file's own line raises, or a call of its function with what that does not
    take; none for what is raised anywhere else.

    What is raised below such a line, in this toolkit or in torch, needs its traceback to be understood.
    """
    places = _places(error)
    if not places or places[-1][0] not in _files():
        return _miscalled(error)
    what = ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()).rstrip("."))))
    return f"Recipe {line_of(error)}: {what}. Mend it there."


def _miscalled(error: BaseException) -> str | None:
    """The sentence on a function of a recipe file that this toolkit calls with other arguments than it takes."""
    found = re.match(r"([\w.]+)\(\) (?:takes|missing|got) ", str(error))
    if found is None or not isinstance(error, TypeError):
        return None
    *owner, name = found[1].split(".")
    for module in _modules():
        within = reduce(_part, owner, module)
        code = getattr(_part(within, name), "__code__", None)
        if code is None or code.co_filename != str(module.__file__):
            continue
        promised = next((vars(kind)[name] for kind in getattr(within, "__mro__", ())[1:] if name in vars(kind)), None)
        known = ", ".join(inspect.signature(promised).parameters) if callable(promised) else ""
        called = f"; it is called as {name}({known})" if known else ""
        return f"Recipe {_shown(Path(code.co_filename), code.co_firstlineno)}: {error}{called}. Mend it there."
    return None


def _part(whole: Any, name: str) -> Any:
    return getattr(whole, name, None)


def _shown(file: Path, line: int) -> str:
    here = Path.cwd()
    return f"{file.relative_to(here) if file.is_relative_to(here) else file}, line {line}"


def _modules() -> list[ModuleType]:
    """Those of the recipe files that this process has loaded."""
    return [module for name, module in list(sys.modules.items()) if name.startswith(PREFIX)]


def _files() -> set[str]:
    """The recipe files that this process has loaded."""
    return {str(module.__file__) for module in _modules()}


def _places(error: BaseException) -> list[tuple[str, int]]:
    return [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
