"""Raw label ids of each data set, and the class each one means (none = ignore)."""

import numpy as np

from da_toolkit.data.labels import CAMVID11, CITYSCAPES19, IGNORE, LabelSpace

CITYSCAPES_ID_TO_TRAIN = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9,
    23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip
"""Cityscapes `labelIds` -> train id (cityscapesScripts, helpers/labels.py). GTA5 uses the same ids."""

SYNTHIA_ID_TO_TRAIN = {
    3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 16: 9,
    1: 10, 10: 11, 17: 12, 8: 13, 18: 14, 19: 15, 20: 16, 12: 17, 11: 18,
}  # fmt: skip
"""SYNTHIA-RAND-CITYSCAPES ids -> Cityscapes train id."""

RawClasses = dict[int, str | None]
"""Every id that may stand in a label file -> class name, or none where it is ignored."""


def _named(table: dict[int, int], ids: range) -> RawClasses:
    return {raw: CITYSCAPES19.classes[table[raw]] if raw in table else None for raw in ids}


CITYSCAPES_IDS: RawClasses = _named(CITYSCAPES_ID_TO_TRAIN, range(35)) | {255: None}
"""0..33 as published; 34 is GTA5's licence plate (-1 in Cityscapes, 255 once stored in 8 bits)."""
TRAIN_IDS: RawClasses = {**dict(enumerate(CITYSCAPES19.classes)), 255: None}
"""Cityscapes' train ids themselves: also BDD100K's masks and IDD's `labelcsTrainIds`."""
SYNTHIA_IDS: RawClasses = _named(SYNTHIA_ID_TO_TRAIN, range(23))
CAMVID_IDS: RawClasses = {**dict(enumerate(CAMVID11.classes)), 11: None, 255: None}

CARLA_IDS: RawClasses = {
    0: None, 1: "building", 2: "fence", 3: None, 4: "person", 5: "pole", 6: "road", 7: "road",
    8: "sidewalk", 9: "vegetation", 10: "car", 11: "wall", 12: "traffic sign",
}  # fmt: skip
"""Lyft perception challenge ids in Cityscapes' names; 10 is any vehicle. 0 also holds the sky: see `carla.py`."""

URBANSYN_IDS: RawClasses = {**TRAIN_IDS, 19: None}
"""Train ids, and 19 for what has none."""

_IDD_LEVEL4 = (
    *("road", "parking", "drivable fallback", "sidewalk", "terrain", "person", "animal", "rider", "motorcycle"),
    *("bicycle", "autorickshaw", "car", "truck", "bus", "caravan", "vehicle fallback", "curb", "wall", "fence"),
    *("guard rail", "billboard", "traffic sign", "traffic light", "pole", "obstacle fallback", "building", "bridge"),
    *("vegetation", "sky", "fallback background"),
)
_IDD_LEVEL3 = (
    *("road", "drivable fallback", "sidewalk", "terrain", "person", "rider", "motorcycle", "bicycle", "autorickshaw"),
    *("car", "truck", "bus", "vehicle fallback", "curb", "wall", "fence", "guard rail", "billboard", "traffic sign"),
    *("traffic light", "pole", "obstacle fallback", "building", "bridge", "vegetation", "sky"),
)
_IDD_LEVEL2 = (
    *("road", "drivable fallback", "sidewalk", "non-drivable fallback", "person", "rider", "two-wheeler"),
    *("light vehicle", "large vehicle", "curb and wall", "fence and rail", "sign", "pole", "construction"),
    *("vegetation", "sky"),
)
_IDD_LEVEL1 = ("drivable", "non-drivable", "living thing", "vehicle", "roadside object", "far object", "sky")
IDD_IDS: dict[str, RawClasses] = {
    "csTrainIds": TRAIN_IDS,
    **{
        f"level{level}Ids": {**dict(enumerate(names)), 255: None}
        for level, names in ((4, _IDD_LEVEL4), (3, _IDD_LEVEL3), (2, _IDD_LEVEL2), (1, _IDD_LEVEL1))
    },
}
"""What ends an IDD label's name -> its ids (AutoNUE's label table). A group has its commonest member's name; IDD itself
takes "non-drivable fallback" for Cityscapes' terrain."""


def class_names(classes: RawClasses) -> tuple[str, ...]:
    """The classes that the ids mean, each once."""
    return tuple(dict.fromkeys(name for name in classes.values() if name is not None))


def told(names: tuple[str, ...]) -> str:
    """Class names for a message: all, or of very many the first."""
    return ", ".join(names[:40]) + (f", ... ({len(names)} in all)" if len(names) > 40 else "")


def lookup_table(classes: RawClasses, space: LabelSpace, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """One table per data set: raw id -> train id in `space`.

    Returns:
        uint8 [size] train ids (255 = ignore) and bool [size], false where the data set has no such id.
    """
    table = np.full(size, IGNORE, dtype=np.uint8)
    known = np.zeros(size, dtype=bool)
    for raw, name in classes.items():
        known[raw] = True
        if name is not None and (place := space.place(name)) is not None:
            table[raw] = place
    return table, known
