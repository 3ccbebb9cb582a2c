"""Label spaces: the class names, colours and ignore id that a model is trained and scored in."""

from dataclasses import dataclass

import numpy as np

from da_toolkit.errors import unknown_name

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

_THINGS = {
    *("traffic light", "traffic sign", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    *("sign", "pedestrian", "bicyclist"),
}


@dataclass(frozen=True)
class LabelSpace:
    """Train ids 0..C-1 with their names and RGB colours; 255 is ignored by every loss and score."""

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def things(self) -> tuple[int, ...]:
        """Train ids of the classes that are countable objects, signs and lights included (DAFormer's choice)."""
        return tuple(number for number, name in enumerate(self.classes) if name in _THINGS)

    def index(self, name: str) -> int:
        """Train id of a class name. Raises `UserError` for an unknown one."""
        if name not in self.classes:
            raise unknown_name(f"class of {self.name}", name, self.classes)
        return self.classes.index(name)

    def table_from(self, other: "LabelSpace") -> np.ndarray:
        """Look-up table uint8 [256]: train id in `other` -> train id here by class name, else 255."""
        table = np.full(256, IGNORE, dtype=np.uint8)
        for train_id, name in enumerate(other.classes):
            if name in self.classes:
                table[train_id] = self.classes.index(name)
        return table

    def colorize(self, label: np.ndarray) -> np.ndarray:
        """uint8 RGB [H,W,3] picture of train ids [H,W]; ignored pixels are black."""
        colors = np.zeros((256, 3), dtype=np.uint8)
        colors[: len(self)] = self.palette
        return colors[label]


def _space(name: str, table: dict[str, tuple[int, int, int]], without: tuple[str, ...] = ()) -> LabelSpace:
    kept = {cls: color for cls, color in table.items() if cls not in without}
    return LabelSpace(name, tuple(kept), tuple(kept.values()))


CITYSCAPES19 = _space("cityscapes19", _CITYSCAPES)
SYNTHIA16 = _space("synthia16", _CITYSCAPES, without=("terrain", "truck", "train"))
CAMVID11 = _space("camvid11", _CAMVID)

LABEL_SPACES = {space.name: space for space in (CITYSCAPES19, SYNTHIA16, CAMVID11)}


def label_space(name: str) -> LabelSpace:
    """The label space of that name. Raises `UserError` that lists the valid names."""
    if name not in LABEL_SPACES:
        raise unknown_name("label space", name, LABEL_SPACES)
    return LABEL_SPACES[name]
