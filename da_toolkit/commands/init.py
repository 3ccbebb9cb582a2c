"""da-toolkit init FOLDER: a commented recipe and a label table for one's own photographs, to start from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from da_toolkit.commands.parsing import parsed
from da_toolkit.recipe.project import write_project


@dataclass(frozen=True)
class Command:
    """Write a new folder with a recipe, classes.json and samples, ready to run; docs/own_data.md goes on from there."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """A folder that does not exist yet."""
    source: Literal["streets", "carla"] = "streets"
    """Where labels come from: the embedded street world, or CARLA's frames below --data-root."""
    photographs: Path | None = None
    """Your folder of images, read where it is; by default samples are written, and you name yours later."""


def main(words: Sequence[str], prog: str) -> None:
    """Write the project and say what comes next."""
    command = parsed(Command, words, prog)
    written = write_project(command.folder, command.source, command.photographs)
    root = " --data-root /data" if command.source == "carla" else ""
    recipe = written[0]
    print(f"{', '.join(str(file) for file in written[:2])}" + (f" and {len(written) - 2} samples" * (len(written) > 2)))
    print(f"next: da-toolkit run {recipe}{root} --check     # is everything there?")
    print(f"      da-toolkit run {recipe}{root}             # train, minutes on a CPU")
    print(f"      da-toolkit predict runs/{recipe.stem}/0 IMAGES --output {command.folder / 'predictions'}")
