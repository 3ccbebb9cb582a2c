"""What `run` does with a recipe or a run's folder: parse the settings, train, score, show."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from da_toolkit import terminal
from da_toolkit.commands.parsing import parsed
from da_toolkit.errors import UserError
from da_toolkit.ranks.parallel import is_main
from da_toolkit.recipe.as_json import flatten
from da_toolkit.recipe.demo import demo_version
from da_toolkit.recipe.files import find_recipe, load_recipe
from da_toolkit.recipe.recipe import Recipe
from da_toolkit.report.table import summarize, terminal_tables
from da_toolkit.runs.batch_search import find_batch_size
from da_toolkit.runs.folder import load_recipe_of, load_runtime
from da_toolkit.runs.provenance import device_name
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session


@dataclass(frozen=True)
class Command:
    """Override any setting of the recipe, or of the run, by its dotted name."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    runtime: Annotated[Runtime, tyro.conf.arg(name="")]


Instead = Literal["check", "find batch"]
"""What to do with a recipe instead of training it."""


def train(name_or_path: str, words: list[str], prog: str, besides: str, demo: bool, instead: Instead | None) -> None:
    """Train a recipe with the settings that `words` override, or do with it what is asked instead."""
    path = find_recipe(name_or_path)
    recipe, name = load_recipe(path), path.stem
    if demo:
        recipe, name = demo_version(recipe), f"{name}_demo"
    command = parsed(
        Command,
        words,
        prog,
        ("--demo", "--check", "--find-batch"),
        default=Command(recipe, Runtime()),
        description=f"{Command.__doc__} {besides}",
    )
    session = Session(name, command.recipe, command.runtime)
    if instead == "check":
        return check(session)
    if instead == "find batch":
        for line in find_batch_size(session, session.open_data()[:2]):
            print(line)
        return None
    show(session, session.run())


def show(session: Session, result: dict[str, Any]) -> None:
    """Print the scores and where the run lies; on the first rank only."""
    if not is_main():
        return
    for protocol in result["scores"]:
        for table in terminal_tables(summarize([result], protocol), f"{session.name}, {protocol}"):
            terminal.show(table)
    print(f"run folder: {session.folder}")


def rerun(run: Path, words: list[str], prog: str) -> None:
    """Repeat a run from its folder, by default into RUNS/reruns, and say whether the weights are the same bits."""
    if words and not words[0].startswith("-"):  # the run's recipe, which may define classes of its own
        load_recipe(find_recipe(words.pop(0)))
    recipe, runtime = load_recipe_of(run), load_runtime(run)
    runtime = dataclasses.replace(runtime, runs=runtime.runs / "reruns", resume=False, overwrite=False)
    command = parsed(Command, words, f"{prog} --rerun {run}", default=Command(recipe, runtime))
    session = Session(run.parent.name, command.recipe, command.runtime, repeats=run)
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
    """Build the data, network and terms, open one image of each split, print all settings, and stop."""
    trainer, val = session.build()
    if not is_main():
        return
    if trainer.images.source is None:
        print("source: not opened, for the method reads none")
    for data in (trainer.images.source, trainer.images.target, val):
        if data is None:
            continue
        image = data.image(0)
        print(f"{data.name} {data.split}: {len(data)} images, the first {image.shape[1]}x{image.shape[0]}")
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    print(f"network: {parameters / 1e6:.2f} M parameters; terms: {', '.join(type(t).__name__ for t in trainer.terms)}")
    for name, value in (*flatten(session.recipe.to_json()), *session.runtime.to_json().items()):
        print(f"{name}: {value}")
    print(f"device: {device_name(trainer.fabric.device)}; run folder: {session.folder}")
    print("All is built, and nothing was trained or written.")
