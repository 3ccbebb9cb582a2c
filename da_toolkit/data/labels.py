"""Label spaces: the class names, colours and ignore id that a model is trained and scored in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from da_toolkit.errors import UserError, unknown_name

IGNORE = 255

# Class names and colours of the Cityscapes benchmark (Cordts et al., CVPR 2016), in train-id order.
_CITYSCAPES = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
_CAMVID = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}

# What stands on CARLA's and on Cityscapes' streets alike, in Cityscapes' colours.
_STREETS = {
    **{name: _CITYSCAPES[name] for name in ("road", "sidewalk", "building", "wall", "fence", "pole")},
    "sign": _CITYSCAPES["traffic sign"],
    **{name: _CITYSCAPES[name] for name in ("vegetation", "sky", "person")},
    "vehicle": _CITYSCAPES["car"],
}
# The benchmark's categories (cityscapesScripts, helpers/labels.py), each in the colour of its commonest class.
_CATEGORIES = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"),
    "nature": ("vegetation", "terrain"),
    "sky": ("sky",),
    "human": ("person", "rider"),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}

_THINGS = {
    *("traffic light", "traffic sign", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    *("sign", "pedestrian", "bicyclist", "human", "vehicle"),
}


@dataclass(frozen=True)
class LabelSpace:
    """Train ids 0..C-1 with their names and RGB colours; 255 is ignored by every loss and score."""

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] = ()
    """Colours 0..255; by default far ones."""
    includes: tuple[tuple[str, str], ...] = ()
    """(a name that a data set uses, the class here that it belongs to), such as ("truck", "vehicle")."""

    def __post_init__(self) -> None:
        if wrong := self._wrong():
            raise UserError(f"The label space {self.name!r} cannot be used: {wrong}.")
        if not self.palette:
            object.__setattr__(self, "palette", tuple(_color(number) for number in range(len(self.classes))))

    def _wrong(self) -> str:
        """What is wrong with it, or nothing."""
        if not isinstance(self.classes, tuple) or not all(isinstance(name, str) for name in self.classes):
            return f"its classes must be a tuple of names, not {self.classes!r:.80}"
        if not 1 <= len(self.classes) <= IGNORE:
            return f"it has {len(self.classes)} classes, and must have 1 to {IGNORE}"
        for name in self.classes:
            if not name or name != name.strip():
                return f"the class {name!r} has an empty name, or blanks around it"
        if twice := sorted({name for name in self.classes if self.classes.count(name) > 1}):
            return f"the class {twice[0]!r} stands there twice"
        if self.palette:
            if len(self.palette) != len(self.classes):
                return f"it has {len(self.palette)} colours for {len(self.classes)} classes"
            for color in self.palette:
                if len(color) != 3 or not all(type(part) is int and 0 <= part <= 255 for part in color):
                    return f"the colour {list(color)!r} is not three whole numbers 0..255"
        for other, name in self.includes:
            if name not in self.classes:
                return f"{other!r} is said to belong to {name!r}, which is none of its classes"
            if other in self.classes:
                return f"{other!r} is said to belong to {name!r}, but is a class itself"
        if len(dict(self.includes)) < len(self.includes):
            return "a name is said to belong to two classes"
        return ""

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def things(self) -> tuple[int, ...]:
        """Train ids of the classes that are countable objects, signs and lights included (DAFormer's choice)."""
        return tuple(number for number, name in enumerate(self.classes) if name in _THINGS)

    @property
    def categories(self) -> dict[str, tuple[int, ...]]:
        """Cityscapes' categories that have classes here -> their train ids; a class of none of them is its own."""
        found: dict[str, list[int]] = {}
        for number, name in enumerate(self.classes):
            place = CITYSCAPES7.place(name)
            found.setdefault(name if place is None else CITYSCAPES7.classes[place], []).append(number)
        return {name: tuple(numbers) for name, numbers in found.items()}

    def index(self, name: str) -> int:
        """Train id of a class name. Raises `UserError` for an unknown one."""
        if name not in self.classes:
            raise unknown_name(f"class of {self.name}", name, self.classes)
        return self.classes.index(name)

    def place(self, name: str) -> int | None:
        """Train id of what a data set calls `name`: the class of that name, else the one that includes it."""
        found = name if name in self.classes else dict(self.includes).get(name)
        return None if found is None else self.classes.index(found)

    def reached(self, names: Iterable[str]) -> tuple[str, ...]:
        """The classes here, in their order, that a data set with these class names has."""
        places = {self.place(name) for name in names}
        return tuple(name for number, name in enumerate(self.classes) if number in places)

    def table_from(self, other: "LabelSpace") -> np.ndarray:
        """Look-up table uint8 [256]: train id in `other` -> train id here by class name, else 255."""
        table = np.full(256, IGNORE, dtype=np.uint8)
        for train_id, name in enumerate(other.classes):
            if (place := self.place(name)) is not None:
                table[train_id] = place
        return table

    def colorize(self, label: np.ndarray) -> np.ndarray:
        """uint8 RGB [H,W,3] picture of train ids [H,W]; ignored pixels are black."""
        colors = np.zeros((256, 3), dtype=np.uint8)
        colors[: len(self)] = self.palette
        return colors[label]


def _color(number: int) -> tuple[int, int, int]:
    """A colour for class `number`, far from its neighbours'."""
    return (37 * number + 64) % 256, (97 * number + 128) % 256, (167 * number + 32) % 256


def _space(
    name: str,
    table: dict[str, tuple[int, int, int]],
    without: tuple[str, ...] = (),
    includes: Mapping[str, tuple[str, ...]] | None = None,
) -> LabelSpace:
    kept = {cls: color for cls, color in table.items() if cls not in without}
    others = tuple((other, cls) for cls, names in (includes or {}).items() for other in names if other not in kept)
    return LabelSpace(name, tuple(kept), tuple(kept.values()), others)


# What CamVid's classes are called in Cityscapes' names, and the other way round.
_FROM_CAMVID = {
    "sidewalk": ("pavement",),
    "vegetation": ("tree",),
    "traffic sign": ("sign",),
    "person": ("pedestrian",),
    "rider": ("bicyclist",),
}

CITYSCAPES19 = _space("cityscapes19", _CITYSCAPES, includes=_FROM_CAMVID)
SYNTHIA16 = _space("synthia16", _CITYSCAPES, without=("terrain", "truck", "train"), includes=_FROM_CAMVID)
CAMVID11 = _space(
    "camvid11",
    _CAMVID,
    includes={
        "building": ("wall",),
        "pavement": ("sidewalk",),
        "tree": ("vegetation",),
        "sign": ("traffic sign", "traffic light"),
        "car": ("truck", "bus", "train"),
        "pedestrian": ("person",),
        "bicyclist": ("rider", "bicycle"),
    },
)
"""What it includes follows the 32 classes that the SegNet split merged into these."""
STREETS11 = _space(
    "streets11",
    _STREETS,
    includes={
        "sidewalk": ("pavement",),
        "sign": ("traffic sign",),
        "vegetation": ("terrain", "tree"),
        "person": ("rider", "pedestrian", "bicyclist"),
        "vehicle": ("car", "truck", "bus", "train"),
    },
)
"""Lights, motorcycles and bicycles are ignored: CARLA's labels have none."""
CITYSCAPES7 = _space(
    "cityscapes7",
    {name: _CITYSCAPES[classes[0]] for name, classes in _CATEGORIES.items()},
    includes={
        **_CATEGORIES,
        "flat": (*_CATEGORIES["flat"], "pavement"),
        "object": (*_CATEGORIES["object"], "sign"),
        "nature": (*_CATEGORIES["nature"], "tree"),
        "human": (*_CATEGORIES["human"], "pedestrian", "bicyclist"),
    },
)

STREETS7 = {
    category: tuple(name for name in STREETS11.classes if CITYSCAPES7.place(name) == number)
    for number, category in enumerate(CITYSCAPES7.classes)
}
"""Category -> its classes of streets11: what the protocol streets7 merges a confusion matrix into."""

LABEL_SPACES = {space.name: space for space in (CITYSCAPES19, SYNTHIA16, CAMVID11, STREETS11, CITYSCAPES7)}


def label_space(name: str) -> LabelSpace:
    """The label space of that name. Raises `UserError` that lists the valid names."""
    if name not in LABEL_SPACES:
        raise unknown_name("label space", name, LABEL_SPACES)
    return LABEL_SPACES[name]
