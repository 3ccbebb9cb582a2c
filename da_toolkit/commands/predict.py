"""da-toolkit predict RUN IMAGES...: classes of your own images by a finished run, as masks, overlays and train ids."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress

from da_toolkit.data.figures import save_png
from da_toolkit.data.listing import images_in
from da_toolkit.errors import UserError
from da_toolkit.files import disk_error
from da_toolkit.recipe.files import find_recipe, load_recipe
from da_toolkit.runs.trained import TrainedRun, as_rgb
from da_toolkit.terminal import live


@dataclass(frozen=True)
class Command:
    """Write what a finished run's network says of images: OUTPUT/{masks,overlays,train_ids}/NAME.png, at the images'
    own resolution. Files that cannot be read are named and left out; the exit code is 1 then."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run's folder, such as runs/adaptseg_gta/0."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES...")]
    """Image files, and folders whose images are taken at any depth."""
    output: Path = Path("predictions")
    """Folder for the pictures; files of the same names there are replaced."""
    best: bool = False
    """Use `best.safetensors`, the weights that the run's --best chose, instead of the last ones."""
    recipe: str = ""
    """The recipe's file, if it defines classes of its own."""


def main(words: Sequence[str], prog: str) -> int:
    """Predict all images; 1 if some were left out."""
    command = tyro.cli(Command, prog=prog, args=words)
    if command.recipe:
        load_recipe(find_recipe(command.recipe))
    images = named(command.images, command.output)
    run = TrainedRun(command.run, command.best)
    left_out = 0
    with Progress(console=Console(stderr=True), transient=True, disable=not live(sys.stderr)) as progress:
        for name, file in progress.track(images.items(), description=f"{len(images)} images"):
            try:
                image = as_rgb(file)
            except UserError as error:
                progress.console.print(f"left out: {error}", markup=False, highlight=False, soft_wrap=True)
                left_out += 1
                continue
            prediction = run.predict(image)
            pictures = {"masks": prediction.mask(), "overlays": prediction.overlay(image)}
            _write(command.output, name, pictures | {"train_ids": prediction.classes})
    done = len(images) - left_out
    print(f"{done} of {len(images)} images predicted; masks, overlays and train ids are in {command.output}")
    return 1 if left_out else 0


def named(places: Sequence[Path], output: Path) -> dict[str, Path]:
    """The image files at `places` by the names of their predictions: of a folder's, the path below it; no endings.

    Raises:
        UserError: no places, nothing there, two images of one name, or `output` is one of the folders.
    """
    if not places:
        raise UserError("Nothing to predict: name image files, or folders that hold some, after the run.")
    found: dict[str, Path] = {}
    for place in places:
        if place.is_dir() and output.resolve() == place.resolve():
            raise UserError(f"--output {output} is a folder of the images themselves: name another one.")
        for name, file in _images_at(place):
            if output.resolve() in file.resolve().parents:  # what an earlier call has written
                continue
            if name in found and found[name].resolve() != file.resolve():
                raise UserError(
                    f"{found[name]} and {file} would both be written as {name}.png: predict them into two folders "
                    "(--output)."
                )
            found[name] = file
    if not found:
        raise UserError(f"Nothing to predict: all images there lie in --output {output}.")
    return found


def _images_at(place: Path) -> Iterator[tuple[str, Path]]:
    if not place.is_dir():
        if not place.exists():
            raise UserError(f"{place} does not exist: name image files, or folders that hold some.")
        yield place.stem, place
        return
    for file in images_in(place, "predict"):
        yield str(file.relative_to(place).with_suffix("")), file


def _write(output: Path, name: str, pictures: dict[str, np.ndarray]) -> None:
    try:
        for kind, picture in pictures.items():
            save_png(output / kind / f"{name}.png", picture)
    except OSError as error:
        raise disk_error(output, error, "--output") from error
