"""Recipe files are their users' own code: what it raises is told in a sentence with the file and the line."""

import traceback
from pathlib import Path

PREFIX = "da_toolkit_recipe_"
"""What the modules of recipe files are called, in front of the file's name."""


def told(error: BaseException) -> str | None:
    """An error that passed through a recipe file's code: that file, the line, and what was raised there or below.

    None for all other errors, which are this toolkit's.
    """
    frames = [
        (Path(frame.f_code.co_filename), line, frame.f_globals.get("__name__", ""))
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [(file, line) for file, line, module in frames if module.startswith(PREFIX)]
    if not own:
        return None
    file, line = own[-1]
    last, last_line, module = frames[-1]
    below = "" if module.startswith(PREFIX) else f" (in {last.name}, line {last_line})"
    return f"{file}, line {line}: {type(error).__name__}: {' '.join(str(error).split())}{below}"
