"""python -m da_toolkit.run RECIPE: train and score a recipe; every setting can be overridden by name."""

import argparse
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from da_toolkit.demo import demo_version
from da_toolkit.errors import UserError, exits_cleanly
from da_toolkit.recipe import Recipe, find_recipe, load_recipe, recipe_files
from da_toolkit.registry import DOMAINS, METHODS, MODELS, REGULARIZERS
from da_toolkit.report.table import summarize, terminal_tables
from da_toolkit.training.parallel import is_main
from da_toolkit.training.run_folder import load_recipe_of, load_runtime
from da_toolkit.training.runtime import Runtime
from da_toolkit.training.session import Session

DEMO = "swap in the street world, a small network, few steps"
CHECK = "build everything, print the resolved recipe, stop"
ACTIONS = f"--demo ({DEMO}); --check ({CHECK})"


@dataclass(frozen=True)
class Command:
    """Override any setting of the recipe, or of the run, by its dotted name."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    runtime: Annotated[Runtime, tyro.conf.arg(name="")]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m da_toolkit.run",
        description="Train and score a recipe. With a recipe, --help shows every setting that can be overridden.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("recipe", nargs="?", help="a recipe's file or name")
    parser.add_argument(
        "--list", action="store_true", help="show the recipes, methods, regularizers, models and domains"
    )
    parser.add_argument("--family", metavar="NAME", help="list only methods of this family")
    parser.add_argument("--demo", action="store_true", help=DEMO)
    parser.add_argument("--rerun", metavar="RUN", help="repeat a run from its folder")
    parser.add_argument("--check", action="store_true", help=CHECK)
    words = sys.argv[1:]
    if "--rerun" in words:
        place = words.index("--rerun")
        if place + 1 == len(words):
            raise UserError("--rerun needs the folder of a run, such as runs/adaptseg_gta/0.")
        rest = [*words[:place], *words[place + 2 :]]
        if rest and not rest[0].startswith("-"):  # the run's recipe, which may define classes of its own
            load_recipe(find_recipe(rest.pop(0)))
        return rerun(Path(words[place + 1]), rest)
    first, rest = parser.parse_known_args(words)
    if first.list or (first.family and first.recipe is None):
        return show_list(first.family or "*")
    if first.family:
        raise UserError("--family chooses what --list shows, and a recipe is one method: leave one of them out.")
    if first.recipe is None:
        parser.print_help()
        print("\nWithout a recipe there is nothing to run; --list shows them.", file=sys.stderr)
        raise SystemExit(0 if {"-h", "--help"} & set(rest) else 2)
    early = [*rest[:1], first.recipe]
    if min(early, key=words.index) != first.recipe or first.recipe.startswith("-"):
        raise UserError(f"The recipe comes first: python -m da_toolkit.run RECIPE {early[0]} ...")
    path = find_recipe(first.recipe)
    recipe, name = load_recipe(path), path.stem
    if first.demo:
        recipe, name = demo_version(recipe), f"{name}_demo"
    command = tyro.cli(
        Command,
        default=Command(recipe, Runtime()),
        args=rest,
        prog=f"python -m da_toolkit.run {first.recipe}",
        description=f"{Command.__doc__} Besides: {ACTIONS}.",
    )
    session = Session(name, command.recipe, command.runtime)
    if first.check:
        return check(session)
    show(session, session.run())


def show(session: Session, result: dict[str, Any]) -> None:
    """Print the scores and where the run lies; on the first rank only."""
    if not is_main():
        return
    for protocol in result["scores"]:
        for table in terminal_tables(summarize([result], protocol), f"{session.name}, {protocol}"):
            Console().print(table)
    print(f"run folder: {session.folder}")


def rerun(run: Path, words: list[str]) -> None:
    """Repeat a run from its folder, by default into RUNS/reruns, and say whether the weights are the same bits."""
    recipe, runtime = load_recipe_of(run), load_runtime(run)
    runtime = dataclasses.replace(runtime, runs=runtime.runs / "reruns", resume=False, overwrite=False)
    command = tyro.cli(
        Command, default=Command(recipe, runtime), args=words, prog=f"python -m da_toolkit.run --rerun {run}"
    )
    session = Session(run.parent.name, command.recipe, command.runtime)
    if session.folder.resolve() == run.resolve():
        raise UserError(f"--rerun: {run} would be written over by its own repetition. Pass another --runs.")
    show(session, session.run())
    first, second = run / "model.safetensors", session.folder / "model.safetensors"
    if first.exists() and is_main():
        same = first.read_bytes() == second.read_bytes()
        print(f"weights: {'the same bits as' if same else 'not the bits of'} {first}")
        if not same:
            print("(Bits repeat with the same settings, versions, machine and threads: compare both environment.json.)")


def check(session: Session) -> None:
    """Build the data, network and terms, open one image of each split, print the recipe, and stop."""
    trainer, val = session.build()
    if not is_main():
        return
    for data in (trainer.source, trainer.target, val):
        image = data.image(0)
        print(f"{data.name} {data.split}: {len(data)} images, the first {image.shape[1]}x{image.shape[0]}")
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    print(f"network: {parameters / 1e6:.2f} M parameters; terms: {', '.join(type(t).__name__ for t in trainer.terms)}")
    print(json.dumps(session.recipe.to_json(), indent=2))


def show_list(family: str) -> None:
    """Print methods, regularizers, models and domains, and the recipes with their published scores."""
    families = {entry.family for entry in METHODS}
    if family != "*" and family not in families:
        raise UserError(f"Unknown family {family!r}. Families: {', '.join(sorted(families))}.")
    console = Console()
    methods = _table("methods", "name", "family", "what it does", "paper")
    for name in METHODS.names(family=family):
        entry = METHODS[name]
        methods.add_row(name, entry.family, entry.summary, entry.paper)
    console.print(methods)
    if family != "*":
        return
    for registry in (REGULARIZERS, MODELS, DOMAINS):
        parts = _table(f"{registry.kind}s", "name", "what it does", "paper")
        for entry in registry:
            parts.add_row(entry.name, entry.summary, entry.paper)
        console.print(parts)
    recipes = _table("recipes", "name", "what it does", "reported mIoU")
    for name, path in recipe_files().items():
        reported = load_recipe(path).reported
        first_line = path.read_text().strip().splitlines()[0].strip('"')
        recipes.add_row(name, first_line, f"{reported.miou} ({reported.paper})" if reported else "")
    console.print(recipes)


def _table(title: str, name: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(name, no_wrap=True)
    for column in columns:
        table.add_column(column)
    return table


if __name__ == "__main__":
    exits_cleanly(main)
