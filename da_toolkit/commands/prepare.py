"""da-toolkit prepare: look at a recipe's data, make its superpixels, or export the street world."""

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from da_toolkit.check import check_recipe
from da_toolkit.commands.parsing import parsed
from da_toolkit.data.export import export_cityscapes, export_gta5, export_synthia
from da_toolkit.data.figures import prediction_grid, save_png
from da_toolkit.data.streets import Streets
from da_toolkit.data.superpixels import SuperpixelCache
from da_toolkit.data.transforms import resized
from da_toolkit.errors import Stopped, UserError
from da_toolkit.recipe.demo import demo_version
from da_toolkit.recipe.files import find_recipe, load_recipe
from da_toolkit.recipe.recipe import Recipe
from da_toolkit.regularizers.rpt.figures import with_borders
from da_toolkit.report.runs import read_run
from da_toolkit.runs.folder import load_recipe_of
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.same_data import changes
from da_toolkit.runs.session import Session
from da_toolkit.runs.signals import StopRequest
from da_toolkit.training.state import load_state, remembers
from da_toolkit.waiting import Abandoned


@dataclass(frozen=True)
class Check:
    """Judge a recipe's data, problems, warnings and facts apart; the exit code is 1 if there are problems."""

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """A recipe's file or name."""
    data_root: Path | None = None
    """Folder that holds the data sets."""
    demo: bool = False
    """Check the street world instead."""
    json: bool = False
    """Print the reports as JSON."""
    picture: Path | None = None
    """Draw a random image of each split, under its label, into this PNG file."""

    def run(self) -> int:
        return check_data(_load(self.recipe, self.demo), self.data_root, self.json, self.picture)


@dataclass(frozen=True)
class Export:
    """Write the street world as GTA5, RAND_CITYSCAPES and cityscapes folders."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Becomes a --data-root."""
    frames: int = 40
    """Source and target training frames."""
    size: tuple[int, int] | None = None
    """Height and width, by default 128 256."""

    def run(self) -> int:
        return export_streets(self.folder, self.frames, self.size)


@dataclass(frozen=True)
class MakeSuperpixels:
    """Make the region maps of a recipe's target images, on all cores."""

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """A recipe's file or name."""
    data_root: Path | None = None
    """Folder that holds the data sets."""
    demo: bool = False
    """Use the street world instead."""
    cores: int | None = None
    """Processes, by default one a core."""

    def run(self) -> int:
        return make_superpixels(self.recipe, self.data_root, self.demo, self.cores)


@dataclass(frozen=True)
class Show:
    """Draw a recipe's regions, or all that a run's regularizers know."""

    place: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PLACE")]
    """A recipe's file or name, or the folder of a run."""
    data_root: Path | None = None
    """Folder that holds the data sets."""
    demo: bool = False
    """Use the street world instead."""
    recipe: str = ""
    """The file of a run's recipe, if it defines classes of its own."""
    folder: Path | None = None
    """Where the pictures go, by default `pictures`, or the run's own."""

    def run(self) -> int:
        if self.recipe:
            load_recipe(find_recipe(self.recipe))
        return show_regions(self.place, self.data_root, self.demo, self.folder)


Command = (
    Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[MakeSuperpixels, tyro.conf.subcommand("superpixels")]
    | Annotated[Show, tyro.conf.subcommand("show")]
)


def main(words: Sequence[str], prog: str) -> int:
    """Do what the first word asks for; 1 if there are problems."""
    kinds: Any = Command  # a union, of which there is no type[...]
    command = parsed(kinds, words, prog, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    code: int = command.run()
    return code


def check_data(recipe: Recipe, data_root: Path | None, as_json: bool, picture: Path | None) -> int:
    """Print a report of each split and of all together; 1 if there are problems."""
    reports = check_recipe(recipe, data_root, picture)
    if as_json:
        print(json.dumps([report.to_json() for report in reports], indent=2))
    else:
        print("\n".join(line for report in reports for line in report.lines()))
    return 1 if any(report.problems for report in reports) else 0


def _superpixels(recipe: Recipe, name: str) -> SuperpixelCache:
    superpixels = recipe.method.superpixels
    if superpixels is None:
        raise UserError(
            f"The recipe {name} uses no superpixels: none of its method's regularizers is RPT with regions."
        )
    return SuperpixelCache(superpixels, recipe.target.size)


def make_superpixels(name: str, data_root: Path | None, demo: bool, cores: int | None) -> int:
    """Fill the cache; what is there already is kept, so an interrupted call goes on where it stopped."""
    if cores is not None and cores < 1:
        raise UserError(f"--cores must be at least 1, got {cores}.")
    recipe = _load(name, demo)
    cache = _superpixels(recipe, name)
    data = recipe.target.build("train", data_root)
    begin = time.perf_counter()
    with StopRequest(patience=0) as stop:
        try:
            counts, _ = cache.survey(data, cores)
        except Abandoned:
            raise Stopped(
                f"Stopped by {stop.name}; the superpixels that are made are kept in {cache.folder}. The same command "
                "goes on from there."
            ) from None
    seconds = time.perf_counter() - begin
    print(
        f"{data.name} train: {len(counts)} images, {min(counts)} to {max(counts)} superpixels (mean "
        f"{sum(counts) / len(counts):.0f}), {seconds:.0f} s; kept in {cache.folder}"
    )
    return 0


def show_regions(name: str, data_root: Path | None, demo: bool, folder: Path | None, images: int = 4) -> int:
    """Write pictures: of a run, all that its regularizers know; of a recipe, its target images' superpixels."""
    if (Path(name) / "recipe.json").exists():
        folder = folder or Path(name) / "pictures"
        found = _run_figures(Path(name), data_root)
    else:
        recipe = _load(name, demo)
        cache, data = _superpixels(recipe, name), recipe.target.build("train", data_root)
        folder = folder or Path("pictures")
        shown = [resized(data.image(index), recipe.target.size) for index in range(min(images, len(data)))]
        bordered = {"superpixels": [with_borders(image, cache(image)) for image in shown]}
        found = {"superpixels": prediction_grid(shown, bordered, data.label_space)}
    if not found:
        raise UserError(f"{name}: its regularizers have nothing to show; RPT has, from its first round on.")
    for title, picture in found.items():
        save_png(folder / f"{title}.png", picture)
        print(folder / f"{title}.png")
    return 0


def _run_figures(run: Path, data_root: Path | None) -> dict[str, np.ndarray]:
    result, recipe = read_run(run).result, load_recipe_of(run)
    runtime = Runtime(result["seed"], data_root, runs=run.parent.parent, workers=0)
    session = Session(run.parent.name, recipe, runtime)
    trainer, val = session.build()
    state = session.checkpoints.load(trainer.fabric.device)
    load_state(trainer, state)
    changes(run, session.identity(trainer, val), state, remembers(trainer))
    return trainer.figures()


def _load(name: str, demo: bool) -> Recipe:
    recipe = load_recipe(find_recipe(name))
    return demo_version(recipe) if demo else recipe


def export_streets(folder: Path, frames: int, size: tuple[int, int] | None) -> int:
    """Write both looks of the street world; existing data sets in `folder` are not touched."""
    for name in ("GTA5", "RAND_CITYSCAPES", "cityscapes"):
        if (folder / name).exists():
            raise UserError(f"{folder / name} exists already. Export into another folder, or remove it first.")
    if frames < 1 or (size and min(size) < 32):
        raise UserError("export: --frames is at least 1, and --size at least 32 pixels a side.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror or error}. Export into another folder.") from error
    game = Streets(look="game", frames=frames)
    camera = dataclasses.replace(game, look="camera", val_frames=max(1, frames // 4))
    export_gta5(game.build("train"), folder / "GTA5", size)
    export_synthia(game.build("train"), folder / "RAND_CITYSCAPES", size)
    for split in ("train", "val"):
        export_cityscapes(camera.build(split), folder / "cityscapes", split, size)
    print(f"{folder}: GTA5, RAND_CITYSCAPES and cityscapes, {frames} training frames each")
    return 0
