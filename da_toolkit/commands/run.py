"""da-toolkit run RECIPE: train and score a recipe; every setting can be overridden by name."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich import box
from rich.table import Table

from da_toolkit.catalogue import KINDS, listed, listed_recipes
from da_toolkit.commands.first_words import Parser
from da_toolkit.errors import UserError
from da_toolkit.interrupts import ended_by_interrupts
from da_toolkit.terminal import show

DEMO = "swap in the street world, a small network, few steps"
CHECK = "build everything, print the resolved recipe, stop"
FIND = "try steps of growing batches on the GPU, tell the largest that fits, stop"


def main(words: Sequence[str], prog: str) -> None:
    """Run what the words ask for: a recipe, a repetition, or a list of names."""
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--rerun=") else [word])]
    parser = Parser(prog, "Train and score a recipe. With a recipe, --help shows every setting that can be overridden.")
    parser.add_argument("recipe", nargs="?", help="a recipe's file or name")
    parser.add_argument(
        "--list", action="store_true", help="show the recipes, methods, regularizers, models and domains"
    )
    parser.add_argument("--family", metavar="NAME", help="list only methods of this family")
    parser.add_argument("--demo", action="store_true", help=DEMO)
    parser.add_argument("--rerun", metavar="RUN", help="repeat a run from its folder")
    parser.add_argument("--check", action="store_true", help=CHECK)
    parser.add_argument("--find-batch", action="store_true", help=FIND)
    if "--rerun" in words:
        place = words.index("--rerun")
        if place + 1 == len(words):
            raise UserError("--rerun needs the folder of a run, such as runs/adaptseg_gta/0.")
        with ended_by_interrupts():
            from da_toolkit.commands.training import rerun

        return rerun(Path(words[place + 1]), [*words[:place], *words[place + 2 :]], prog)
    first, rest = parser.parse_known_args(words)
    if first.list or (first.family and first.recipe is None):
        return show_list(first.family or "*")
    if first.family:
        raise UserError("--family chooses what --list shows, and a recipe is one method: leave one of them out.")
    if first.recipe is None:
        parser.refuse_misspelt(rest)
        parser.print_help()
        print("\nWithout a recipe there is nothing to run; --list shows them.", file=sys.stderr)
        raise SystemExit(0 if {"-h", "--help"} & set(rest) else 2)
    parser.refuse_before(first.recipe, "recipe", words, rest)
    with ended_by_interrupts():
        from da_toolkit.commands.training import train

    besides = f"Besides: --demo ({DEMO}); --check ({CHECK}); --find-batch ({FIND})."
    instead: Literal["check", "find batch"] | None
    instead = "check" if first.check else "find batch" if first.find_batch else None
    train(first.recipe, rest, f"{prog} {first.recipe}", besides, first.demo, instead)


def show_list(family: str) -> None:
    """Print the recipes with their published scores, and methods, regularizers, models and domains."""
    families = {entry.family for entry in listed("method")}
    if family != "*" and family not in families:
        raise UserError(f"Unknown family {family!r}. Families: {', '.join(sorted(families))}.")
    if family == "*":
        recipes = [(recipe.name, recipe.summary, recipe.reported) for recipe in listed_recipes()]
        _print("recipes", ("name", "what it does", "reported mIoU"), recipes)
    rows = [(entry.name, entry.family, entry.summary, entry.paper) for entry in listed("method", family=family)]
    _print("methods", ("name", "family", "what it does", "paper"), rows)
    if family != "*":
        return
    for kind in KINDS.values():
        if kind != "method":
            parts = [(entry.name, entry.summary, entry.paper) for entry in listed(kind)]
            _print(f"{kind}s", ("name", "what it does", "paper"), parts)


def _print(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    show(table)
