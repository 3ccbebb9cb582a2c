"""da-toolkit compare RUNS...: tables, intervals, curves and pictures of finished runs side by side."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from da_toolkit import terminal
from da_toolkit.commands.parsing import parsed
from da_toolkit.errors import UserError
from da_toolkit.report.comparison import Comparison, compare
from da_toolkit.report.documents import DOCUMENTS, FILES
from da_toolkit.report.grid import fitting, to_rich
from da_toolkit.report.runs import find_runs
from da_toolkit.report.table import recipe_columns


@dataclass(frozen=True)
class Command:
    """Compare finished runs under every protocol they were scored with."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs"),)
    """Folders of runs, such as runs/adaptseg_gta/0, or folders that hold runs at any depth."""
    output: Annotated[Path, tyro.conf.arg(aliases=["--out"])] = Path("comparison")
    """Folder for table.md, table.csv, table.tex and index.html."""
    protocol: str = ""
    """Only this scoring protocol; by default all that the runs have."""
    baseline: str = ""
    """Recipe that differences are against; by default the source-only one if there is exactly one."""
    format: Literal["", "markdown", "csv", "latex", "html"] = ""
    """Print only this to stdout, and write no file."""


def main(words: Sequence[str], prog: str) -> None:
    """Make the tables; by default print them and write them as files."""
    command = parsed(Command, words, prog)
    runs, unfinished = find_runs(command.runs)
    comparisons = compare(runs, command.protocol, command.baseline)
    if command.format:
        sys.stdout.write(DOCUMENTS[command.format](comparisons))
        if command.format == "csv":  # which has no place for them
            for comparison in comparisons:
                for note in comparison.notes:
                    print(note, file=sys.stderr)
        return
    try:
        command.output.mkdir(parents=True, exist_ok=True)
        for format, name in FILES.items():
            (command.output / name).write_text(DOCUMENTS[format](comparisons), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"The folder {command.output} cannot be written to: {error.strerror or error}. Set --output to another "
            "folder."
        ) from error
    for comparison in comparisons:
        show(comparison)
    if unfinished:
        print(f"not finished and left out: {', '.join(map(str, unfinished))}")
    print(f"written: {', '.join(str(command.output / name) for name in FILES.values())}")


def show(comparison: Comparison) -> None:
    """Print a comparison's tables and notes: to a terminal in parts that fit it, to a file or a pipe whole."""
    width = terminal.columns()
    classes = recipe_columns(comparison.rows, "IoU per class, percent")
    for grid in (comparison.scores(), classes, comparison.failing(), comparison.choosing()):
        for part in fitting(grid, width) if grid else []:
            terminal.show(to_rich(part))
    for note in comparison.notes:
        Console(width=width).print(f"- {note}", markup=False, highlight=False)
