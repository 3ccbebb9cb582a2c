"""What a terminal can show: bars that move on a live one, and nothing of the kind in a file or on a dumb one."""

import sys
from collections.abc import Iterable
from typing import IO, TypeVar

from rich.console import Console
from rich.progress import track as _track

T = TypeVar("T")


def live(file: IO[str] | None = None) -> bool:
    """Whether a file, by default stdout, is a terminal on which lines can be drawn again.

    Colours that the environment forces (FORCE_COLOR and the like) do not make one of a file.
    """
    file = file or sys.stdout
    return file.isatty() and not Console(file=file).is_dumb_terminal


def track(items: Iterable[T], title: str, total: int | None = None, file: IO[str] | None = None) -> Iterable[T]:
    """The items, with a bar while they are gone through that vanishes at the end; without one where none can move.

    Args:
        file: where the bar is drawn, by default stdout.
    """
    return _track(items, title, total, transient=True, disable=not live(file), console=Console(file=file))
