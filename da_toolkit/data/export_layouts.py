"""Writes a domain in the official layouts of the field's other data sets, so that their loaders can be tested."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from da_toolkit.data.domain import DomainData
from da_toolkit.data.encodings import CITYSCAPES_IDS, IDD_IDS, TRAIN_IDS, URBANSYN_IDS, RawClasses
from da_toolkit.data.export import Size, frames
from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.data.mapillary_classes import IN_CITYSCAPES, WITHOUT_COUNTERPART
from da_toolkit.data.virtual_kitti import COLORS
from da_toolkit.errors import unknown_name

_MAPILLARY = sorted([*IN_CITYSCAPES, *WITHOUT_COUNTERPART])


@dataclass(frozen=True)
class Layout:
    """Where the files of a frame lie below the root, by split and number, and how a label is stored."""

    image: str
    label: str
    store: Callable[[np.ndarray], np.ndarray]
    """uint8 train ids [H,W] -> what is written, [H,W] or RGB [H,W,3]."""
    config: str = ""
    """File that says what the ids mean, where the data set has one."""


def _ids(classes: RawClasses) -> Callable[[np.ndarray], np.ndarray]:
    """The first id of each class; the last ignored one for the rest."""
    ignored = max(raw for raw, name in classes.items() if name is None)
    table = np.full(256, ignored, dtype=np.uint8)
    for raw, name in sorted(classes.items(), reverse=True):
        if name in CITYSCAPES19.classes:
            table[CITYSCAPES19.index(name)] = raw
    return lambda label: table[label]


def _colors(label: np.ndarray) -> np.ndarray:
    places = _ids(dict(enumerate(COLORS.values())))(label)
    return np.array(list(COLORS), dtype=np.uint8)[places]


_LABEL_IDS, _IDD_TREE = _ids(CITYSCAPES_IDS), "{split}/7/{number:06d}"
LAYOUTS = {
    "BDD100K": Layout(
        "images/10k/{split}/{number:08x}.jpg", "labels/sem_seg/masks/{split}/{number:08x}.png", _ids(TRAIN_IDS)
    ),
    "MapillaryVistas": Layout(
        "{mapillary}/images/{number:022d}.jpg",
        "{mapillary}/v1.2/labels/{number:022d}.png",
        _ids({raw: IN_CITYSCAPES.get(name) for raw, name in enumerate(_MAPILLARY)}),
        "config_v1.2.json",
    ),
    **{
        f"IDD-{ids}": Layout(
            f"leftImg8bit/{_IDD_TREE}_leftImg8bit.png", f"gtFine/{_IDD_TREE}_gtFine_label{ids}.png", _ids(IDD_IDS[ids])
        )
        for ids in ("level4Ids", "level3Ids", "csTrainIds")
    },
    **{
        f"ACDC-{condition}": Layout(
            f"rgb_anon/{condition}/{{split}}/GOPR0475/GOPR0475_frame_{{number:06d}}_rgb_anon.png",
            f"gt/{condition}/{{split}}/GOPR0475/GOPR0475_frame_{{number:06d}}_gt_labelIds.png",
            _LABEL_IDS,
        )
        for condition in ("fog", "night", "rain", "snow")
    },
    "DarkZurich": Layout(
        "rgb_anon/{split}/night/GOPR0356/GOPR0356_frame_{number:06d}_rgb_anon.png",
        "gt/{split}/night/GOPR0356/GOPR0356_frame_{number:06d}_gt_labelIds.png",
        _LABEL_IDS,
    ),
    "KITTI": Layout("training/image_2/{number:06d}_10.png", "training/semantic/{number:06d}_10.png", _LABEL_IDS),
    "UrbanSyn": Layout("rgb/rgb_{number:04d}.png", "ss/ss_{number:04d}.png", _ids(URBANSYN_IDS)),
    "Synscapes": Layout("img/rgb/{number}.png", "img/class/{number}.png", _LABEL_IDS),
    "VirtualKITTI2": Layout(
        "Scene01/clone/frames/rgb/Camera_0/rgb_{number:05d}.jpg",
        "Scene01/clone/frames/classSegmentation/Camera_0/classgt_{number:05d}.png",
        _colors,
    ),
}


def export_layout(data: DomainData, layout: str, root: Path, split: str, size: Size = None) -> None:
    """Images and labels under official names and in official ids or colours, numbered from 1.

    Args:
        data: a labelled domain in cityscapes19. Classes that the layout has no id for are stored as ignored.
        layout: a name of `LAYOUTS`.
        root: the folder that the domain's `root` will name.
        split: "train" or "val"; of no matter for layouts without splits.
        size: (height, width) to write at; by default the domain's own.
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    found = LAYOUTS[layout]
    for index, image, label in frames(data, size):
        names = {"split": split, "number": index + 1, "mapillary": {"train": "training", "val": "validation"}[split]}
        for pattern, array in ((found.image, image), (found.label, found.store(label))):
            file = root / pattern.format(**names)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(file, quality=95)
    if found.config:
        labels = [{"name": name, "readable": name, "evaluate": True} for name in _MAPILLARY]
        (root / found.config).write_text(json.dumps({"labels": labels}), encoding="utf-8")
