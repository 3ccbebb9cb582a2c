"""The two looks: what things are coloured and laid out like, and what the camera does to the light."""

from dataclasses import dataclass

from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.errors import unknown_name

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """Appearance and layout statistics of one domain. Colours are RGB 0..255, lengths metres."""

    number: int
    """Separates the looks' random streams."""
    colors: dict[str, tuple[Color, ...]]
    """Class -> base colours, one drawn for each object."""
    texture: dict[str, float]
    """Class -> relative strength of surface texture; the default is `plain`."""
    plain: float
    variation: int
    """Largest change of an object's colour channels."""
    haze: float
    """Distance at which half of the light is haze."""
    haze_color: Color
    gain: tuple[float, float]
    """Range of exposure."""
    tint: Color
    """White balance, 128 = neutral."""
    contrast: float
    blur: int
    """Gaussian kernel in pixels at 128x256, 0 = none."""
    noise: int
    """Largest sensor noise, grey levels."""
    vignette: float
    """Loss of light in the corners, 0..1."""
    road: tuple[float, float]
    """Range of half widths."""
    sidewalk: tuple[float, float]
    horizon: tuple[float, float]
    """Range of the horizon's height, as a share from the top."""
    counts: dict[str, tuple[int, int]]
    """Object -> range of how many stand in a frame."""


_COUNTS = {
    "tree": (2, 5), "lamp": (1, 4), "light": (1, 3), "sign": (1, 4), "person": (1, 5), "cyclist": (1, 2),
    "motorcyclist": (1, 2), "car": (2, 5), "truck": (0, 2), "bus": (0, 2), "train": (0, 1), "bicycle": (0, 2),
}  # fmt: skip

GAME = Look(
    number=0,
    colors={
        "road": ((92, 92, 98), (104, 102, 104)),
        "sidewalk": ((168, 160, 150), (150, 146, 144)),
        "building": ((176, 134, 104), (196, 178, 150), (150, 110, 96), (180, 184, 190)),
        "wall": ((140, 128, 116), (120, 112, 108)),
        "fence": ((110, 84, 60), (70, 74, 78)),
        "pole": ((74, 74, 78), (96, 96, 96)),
        "traffic light": ((30, 32, 30),),
        "traffic sign": ((40, 80, 190), (220, 200, 40), (210, 40, 40)),
        "vegetation": ((60, 130, 40), (84, 150, 50), (44, 106, 44)),
        "terrain": ((104, 160, 60), (126, 150, 70)),
        "sky": ((96, 164, 236), (130, 186, 240)),
        "person": ((200, 60, 60), (60, 80, 180), (220, 180, 60), (60, 60, 60)),
        "rider": ((220, 120, 40), (60, 150, 150)),
        "car": ((200, 30, 36), (30, 60, 160), (230, 230, 230), (40, 40, 44), (220, 180, 40)),
        "truck": ((220, 150, 40), (120, 150, 190)),
        "bus": ((210, 60, 40), (60, 130, 80)),
        "train": ((180, 184, 196), (60, 110, 160)),
        "motorcycle": ((40, 40, 40), (160, 30, 30)),
        "bicycle": ((30, 100, 170), (40, 40, 40)),
    },
    texture={"vegetation": 0.34, "terrain": 0.2, "building": 0.08, "road": 0.06},
    plain=0.05,
    variation=14,
    haze=400.0,
    haze_color=(190, 210, 236),
    gain=(0.95, 1.1),
    tint=(130, 128, 126),
    contrast=1.1,
    blur=0,
    noise=2,
    vignette=0.0,
    road=(4.5, 7.0),
    sidewalk=(1.5, 3.0),
    horizon=(0.38, 0.46),
    counts=_COUNTS,
)

CAMERA = Look(
    number=1,
    colors={
        "road": ((78, 78, 78), (106, 104, 100), (88, 88, 92)),
        "sidewalk": ((142, 134, 128), (154, 148, 138)),
        "building": ((140, 108, 90), (158, 150, 136), (120, 96, 88), (180, 166, 142)),
        "wall": ((128, 120, 110), (98, 90, 84)),
        "fence": ((80, 80, 78), (104, 92, 76)),
        "pole": ((92, 94, 92), (62, 62, 60)),
        "traffic light": ((36, 38, 36), (60, 58, 50)),
        "traffic sign": ((52, 84, 160), (200, 184, 74), (186, 56, 54)),
        "vegetation": ((60, 94, 44), (84, 108, 54), (48, 76, 44)),
        "terrain": ((98, 124, 62), (118, 122, 74)),
        "sky": ((198, 208, 216), (150, 184, 222), (172, 196, 220)),
        "person": ((60, 60, 66), (96, 80, 66), (150, 60, 56), (64, 76, 120)),
        "rider": ((80, 90, 94), (150, 96, 56)),
        "car": ((60, 62, 66), (170, 172, 174), (130, 40, 40), (40, 56, 110), (200, 200, 198)),
        "truck": ((180, 150, 90), (120, 130, 140)),
        "bus": ((160, 80, 56), (90, 120, 80)),
        "train": ((150, 154, 160), (80, 100, 130)),
        "motorcycle": ((48, 48, 50), (80, 60, 54)),
        "bicycle": ((50, 54, 58), (100, 60, 50)),
    },
    texture={"vegetation": 0.42, "terrain": 0.28, "building": 0.14, "road": 0.1, "sidewalk": 0.12},
    plain=0.09,
    variation=20,
    haze=200.0,
    haze_color=(196, 200, 202),
    gain=(0.8, 1.2),
    tint=(124, 128, 134),
    contrast=0.9,
    blur=3,
    noise=6,
    vignette=0.3,
    road=(3.5, 6.0),
    sidewalk=(2.0, 4.0),
    horizon=(0.42, 0.5),
    counts=_COUNTS | {"person": (2, 7), "car": (3, 7), "tree": (2, 7), "sign": (1, 5)},
)

LOOKS = {"game": GAME, "camera": CAMERA}
assert all(set(look.colors) == set(CITYSCAPES19.classes) for look in LOOKS.values())


def look(name: str) -> Look:
    """The look of that name. Raises `UserError` that lists both."""
    if name not in LOOKS:
        raise unknown_name("look of streets", name, LOOKS)
    return LOOKS[name]
