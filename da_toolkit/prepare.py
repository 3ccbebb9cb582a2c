"""python -m da_toolkit.prepare: look at a recipe's data, make its superpixels, or export the street world."""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np

from da_toolkit.data.check import check_recipe
from da_toolkit.data.export import export_cityscapes, export_gta5, export_synthia
from da_toolkit.data.streets import Streets
from da_toolkit.data.transforms import resized
from da_toolkit.demo import demo_version
from da_toolkit.errors import UserError, exits_cleanly
from da_toolkit.recipe import Recipe, find_recipe, load_recipe
from da_toolkit.regularizers.rpt.figures import with_borders
from da_toolkit.regularizers.rpt.superpixels import SuperpixelCache
from da_toolkit.report.figures import prediction_grid, save_png
from da_toolkit.report.runs import read_run
from da_toolkit.training.run_folder import load_recipe_of
from da_toolkit.training.runtime import Runtime
from da_toolkit.training.session import Session


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m da_toolkit.prepare", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser("check", help="judge a recipe's data: exit code 1 if there are problems")
    check.add_argument("recipe", help="a recipe's file or name")
    check.add_argument("--data-root", type=Path, help="folder that holds the data sets")
    check.add_argument("--demo", action="store_true", help="check the street world instead")
    check.add_argument("--json", action="store_true", help="print the reports as JSON")
    check.add_argument(
        "--picture", type=Path, metavar="FILE.png", help="draw a random image of each split, under its label"
    )
    export = verbs.add_parser("export", help="write streets as GTA5, RAND_CITYSCAPES and cityscapes folders")
    export.add_argument("folder", type=Path, help="becomes a --data-root")
    export.add_argument("--frames", type=int, default=40, help="source and target training frames (default 40)")
    export.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="by default 128 256")
    superpixels = verbs.add_parser("superpixels", help="make the region maps of a recipe's target images, on all cores")
    show = verbs.add_parser("show", help="draw a recipe's regions, or all that a run's regularizers know")
    for verb in (superpixels, show):
        verb.add_argument(
            "recipe", help="a recipe's file or name" + ("; or the folder of a run" if verb is show else "")
        )
        verb.add_argument("--data-root", type=Path, help="folder that holds the data sets")
        verb.add_argument("--demo", action="store_true", help="use the street world instead")
    superpixels.add_argument("--cores", type=int, help="processes (default: all cores)")
    show.add_argument("--recipe", dest="file", help="the file of a run's recipe, if it defines classes of its own")
    show.add_argument("--folder", type=Path, help="where the pictures go (default: pictures, or the run's own)")
    options = parser.parse_args()
    if options.verb == "check":
        return check_data(_load(options.recipe, options.demo), options.data_root, options.json, options.picture)
    if options.verb == "superpixels":
        return make_superpixels(options.recipe, options.data_root, options.demo, options.cores)
    if options.verb == "show":
        if options.file is not None:
            load_recipe(find_recipe(options.file))
        return show_regions(options.recipe, options.data_root, options.demo, options.folder)
    return export_streets(options.folder, options.frames, tuple(options.size) if options.size else None)


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
    counts, _ = cache.survey(data, cores)
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
    trainer, _ = session.build()
    trainer.load_state(session.checkpoints.load(trainer.fabric.device))
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


if __name__ == "__main__":
    exits_cleanly(main)
