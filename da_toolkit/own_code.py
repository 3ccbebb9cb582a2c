"""Recipe files are their users' own code: what it raises is told in a sentence with the file and the line."""

import sys
import traceback
from pathlib import Path

PREFIX = "da_toolkit_recipe_"
"""What the modules of recipe files are called, in front of the file's name."""


def line_of(error: BaseException) -> str | None:
    """The last line of a recipe file that an error passed, as "FILE, line N"; none if it passed none."""
    files = _files()
    passed = [(Path(file), line) for file, line in _places(error) if file in files]
    if not passed:
        return None
    file, line = passed[-1]
    here = Path.cwd()
    return f"{file.relative_to(here) if file.is_relative_to(here) else file}, line {line}"


def told(error: BaseException) -> str | None:
    """The sentence on an error that a recipe file's own line raises; none for what is raised anywhere else.

    What is raised below such a line, in this toolkit or in torch, needs its traceback to be understood.
    """
    places = _places(error)
    if not places or places[-1][0] not in _files():
        return None
    what = ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()).rstrip("."))))
    return f"Recipe {line_of(error)}: {what}. Mend it there."


def _files() -> set[str]:
    """The recipe files that this process has loaded."""
    return {str(module.__file__) for name, module in list(sys.modules.items()) if name.startswith(PREFIX)}


def _places(error: BaseException) -> list[tuple[str, int]]:
    return [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
