"""A script that completes `da-toolkit` in a shell, as tyro writes it: commands, options, and the recipes' names."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union

import tyro

from da_toolkit.catalogue import recipe_files
from da_toolkit.commands import compare, demo, evaluate, export, init, predict, prepare, track, view
from da_toolkit.errors import UserError
from da_toolkit.runs.runtime import Runtime

SHELLS = ("bash", "zsh", "fish", "tcsh")


@dataclass(frozen=True)
class Run:
    """The words of `run` that no recipe adds to."""

    runtime: Annotated[Runtime, tyro.conf.arg(name="")]
    demo: bool = False
    check: bool = False


@dataclass(frozen=True)
class Evaluate:
    """The words of `evaluate`."""

    run: Annotated[Path, tyro.conf.Positional]
    settings: Annotated[evaluate.Command, tyro.conf.arg(name="")]


def complete(words: list[str]) -> None:
    """Print or write the script: `--tyro-print-completion SHELL` or `--tyro-write-completion SHELL FILE`."""
    if len(words) < 2 or words[1] not in SHELLS:
        raise UserError(f"{words[0]} needs the name of a shell: {', '.join(SHELLS)}.")
    kinds = {
        "init": init.Command,
        "run": _one_of((name, Run) for name in recipe_files()),  # names complete only as tyro's subcommands
        "evaluate": Evaluate,
        "predict": predict.Command,
        "export": export.Command,
        "view": view.Command,
        "compare": compare.Command,
        "prepare": prepare.Command,
        "track": track.Command,
        "demo": demo.Command,
    }
    tyro.cli(_one_of(kinds.items()), prog="da-toolkit", args=words, config=(tyro.conf.FlagCreatePairsOff,))


def _one_of(kinds: Iterable[tuple[str, Any]]) -> Any:
    """tyro's type of a command line whose first word chooses among the kinds."""
    return Union[tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in kinds)]  # noqa: UP007
