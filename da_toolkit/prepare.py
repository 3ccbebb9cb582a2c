"""python -m da_toolkit.prepare: look at a recipe's data, or write the street world in the official layouts."""

import argparse
import dataclasses
from pathlib import Path

from da_toolkit.data.check import check_split
from da_toolkit.data.export import export_cityscapes, export_gta5, export_synthia
from da_toolkit.data.streets import Streets
from da_toolkit.demo import demo_version
from da_toolkit.errors import UserError, exits_cleanly
from da_toolkit.recipe import find_recipe, load_recipe


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m da_toolkit.prepare", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser("check", help="report pairs, sizes, label ids, class frequencies and damaged files")
    check.add_argument("recipe", help="a recipe's file or name")
    check.add_argument("--data-root", type=Path, help="folder that holds the data sets")
    check.add_argument("--demo", action="store_true", help="check the street world instead")
    export = verbs.add_parser("export", help="write streets as GTA5, RAND_CITYSCAPES and cityscapes folders")
    export.add_argument("folder", type=Path, help="becomes a --data-root")
    export.add_argument("--frames", type=int, default=40, help="source and target training frames (default 40)")
    export.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="by default 128 256")
    options = parser.parse_args()
    if options.verb == "check":
        return check_recipe(options.recipe, options.data_root, options.demo)
    return export_streets(options.folder, options.frames, tuple(options.size) if options.size else None)


def check_recipe(name: str, data_root: Path | None, demo: bool) -> int:
    """Print a report of each split; 1 if there are problems. Target training labels are not opened."""
    recipe = load_recipe(find_recipe(name))
    if demo:
        recipe = demo_version(recipe)
    found = 0
    for domain, split in ((recipe.source, "train"), (recipe.target, "train"), (recipe.target, "val")):
        reads_labels = domain is recipe.source or split == "val" or recipe.method.reads.target_labels
        report = check_split(domain.build(split, data_root), reads_labels)
        print("\n".join(report.lines()))
        found += len(report.problems)
    return 1 if found else 0


def export_streets(folder: Path, frames: int, size: tuple[int, int] | None) -> int:
    """Write both looks of the street world; existing data sets in `folder` are not touched."""
    for name in ("GTA5", "RAND_CITYSCAPES", "cityscapes"):
        if (folder / name).exists():
            raise UserError(f"{folder / name} exists already. Export into another folder, or remove it first.")
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
