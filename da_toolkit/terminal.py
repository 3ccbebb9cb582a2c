"""What a terminal can show: bars and tables as wide as it is; a file or a pipe gets no bars and whole lines."""

import sys
from collections.abc import Iterable
from typing import IO, TypeVar

from rich.console import Console
from rich.progress import track as _track
from rich.table import Table

T = TypeVar("T")
_WIDE = 100_000  # columns, more than any table has


def live(file: IO[str] | None = None) -> bool:
    """Whether a file, by default stdout, is a terminal on which lines can be drawn again.

    Colours that the environment forces (FORCE_COLOR and the like) do not make one of a file.
    """
    file = file or sys.stdout
    return file.isatty() and not Console(file=file).is_dumb_terminal


def columns() -> int:
    """How wide the terminal is; a file or a pipe has no end."""
    return Console().width if live() else _WIDE


def show(table: Table) -> None:
    """Print a table to stdout: as wide as the terminal; in a file or a pipe whole, each entry in its line, and without
    spaces at the ends of lines."""
    if live():
        return Console().print(table)
    console = Console(width=max(1, Console(width=_WIDE).measure(table).maximum))
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def track(items: Iterable[T], title: str, total: int | None = None, file: IO[str] | None = None) -> Iterable[T]:
    """The items, with a bar while they are gone through that vanishes at the end; without one where none can move.

    Args:
        file: where the bar is drawn, by default stdout.
    """
    return _track(items, title, total, transient=True, disable=not live(file), console=Console(file=file))
