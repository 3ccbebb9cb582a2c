"""Renders one frame of the street world: ground, house fronts, objects, then light and camera."""

from functools import lru_cache

import cv2
import numpy as np

from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.data.streets.canvas import CAMERA_HEIGHT, CLASS, Canvas
from da_toolkit.data.streets.looks import look
from da_toolkit.data.streets.objects import DRIVING, ROADSIDE, WALKING, shadow

WORLD_VERSION = 1
"""Raised whenever a frame changes; a hash test holds the frames to it."""

_SPLITS = {"train": 0, "val": 1, "test": 2}
_SIDE = 256  # of the noise tile
_SEGMENTS = ("building", "building", "building", "wall", "fence", "vegetation", "none")
_CYCLE = 8  # segments until a street repeats itself, out of sight
_HEIGHTS = {
    "building": (5.0, 16.0),
    "wall": (1.8, 3.0),
    "fence": (1.2, 2.0),
    "vegetation": (2.0, 6.0),
    "none": (0, 0),
}


def render(
    look_name: str, split: str, index: int, size: tuple[int, int] = (128, 256), seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """One frame, the same on every call.

    Returns:
        uint8 RGB image [H,W,3] and uint8 Cityscapes train ids [H,W].
    """
    style = look(look_name)
    rng = np.random.default_rng((seed, style.number, _SPLITS[split], index))
    canvas = Canvas(size, rng.uniform(*style.horizon), style, rng)
    curb = float(rng.uniform(*style.road))
    front = curb + float(rng.uniform(*style.sidewalk))
    _ground(canvas, curb, front)
    for side in (-1, 1):
        _house_fronts(canvas, side, front + float(rng.uniform(0.3, 4)))
    _texture(canvas)
    _objects(canvas, curb, front)
    return _photograph(canvas), canvas.label


@lru_cache
def _noise() -> np.ndarray:
    """float32 [256,256] in -1..1, smooth and rough octaves together, periodic."""
    rng = np.random.default_rng(7)
    total = np.zeros((_SIDE, _SIDE), dtype=np.float32)
    for cells, weight in ((16, 1), (64, 1), (256, 2)):
        octave = rng.integers(-128, 128, (cells, cells)).astype(np.float32) / 128
        total += weight * octave.repeat(_SIDE // cells, 0).repeat(_SIDE // cells, 1)
    return total / 4


def _ground(canvas: Canvas, curb: float, front: float) -> None:
    """Sky, road with markings, sidewalks and terrain."""
    rows = np.arange(canvas.height, dtype=np.float32)[:, None]
    columns = np.arange(canvas.width, dtype=np.float32)[None] - canvas.center
    z = canvas.focal * CAMERA_HEIGHT / np.maximum(rows - np.float32(canvas.horizon), 0.25)
    x = columns * z / canvas.focal + np.float32(canvas.rng.uniform(-1.5, 1.5))
    below = rows > canvas.horizon
    away = np.abs(x)
    label = np.full(x.shape, CLASS["terrain"], dtype=np.uint8)
    label[away < front] = CLASS["sidewalk"]
    label[away < curb] = CLASS["road"]
    label[~below[:, 0]] = CLASS["sky"]
    canvas.label[:] = label
    table = np.zeros((256, 3), dtype=np.uint8)
    for name in ("road", "sidewalk", "terrain", "sky"):
        table[CLASS[name]] = canvas.color(name)
    canvas.image[:] = table[label]
    dashes = (np.abs(x) < 0.09) & (z % 6 < 3) & below
    edges = (np.abs(away - curb + 0.35) < 0.08) & below
    canvas.image[dashes | edges] = (214, 212, 200)
    sky = canvas.image[~below[:, 0]]
    clouds = (_tile(canvas, 3)[: len(sky), :, None] * 26).astype(np.int16)
    canvas.image[~below[:, 0]] = np.clip(sky + clouds, 0, 255).astype(np.uint8)


def _tile(canvas: Canvas, zoom: int) -> np.ndarray:
    """A random part of the noise over the whole picture, each cell `zoom` pixels: float32 [H,W]."""
    top, left = canvas.rng.integers(0, _SIDE, 2)
    rows = (np.arange(canvas.height) // zoom + top) % _SIDE
    columns = (np.arange(canvas.width) // zoom + left) % _SIDE
    return _noise()[rows[:, None], columns[None]]


def _house_fronts(canvas: Canvas, side: int, distance: float) -> None:
    """A plane along the street, cut into segments of houses, walls, fences and hedges."""
    half = slice(0, canvas.width // 2) if side < 0 else slice(canvas.width // 2, canvas.width)
    columns = np.arange(canvas.width, dtype=np.float32)[half] - canvas.center
    z = canvas.focal * np.float32(distance) / np.maximum(side * columns, 1)
    length = canvas.rng.uniform(7, 13)
    segment = (z / length).astype(int) % _CYCLE
    kinds = canvas.rng.integers(0, len(_SEGMENTS), _CYCLE)
    names = [_SEGMENTS[kind] for kind in kinds]
    heights = np.array([canvas.rng.uniform(*_HEIGHTS[name]) for name in names], dtype=np.float32)
    colors = np.array([canvas.color(n) if n != "none" else (0, 0, 0) for n in names], dtype=np.float32)
    classes = np.array([CLASS.get(name, 0) for name in names], dtype=np.uint8)[segment]
    rows = np.arange(canvas.height, dtype=np.float32)[:, None]
    above = CAMERA_HEIGHT - (rows - np.float32(canvas.horizon)) * z / canvas.focal  # metres over the ground
    covered = (above >= 0) & (above < heights[segment]) & (z < 250)
    share = (z / (z + canvas.look.haze))[:, None]
    flat = colors[segment] * (1 - share) + np.array(canvas.look.haze_color, dtype=np.float32) * share
    floor = above % 3
    windows = (floor > 1.2) & (floor < 2.5) & (above > 1) & (z % 2.6 > 0.8) & (classes == CLASS["building"])
    gaps = (classes == CLASS["fence"]) & (z % 0.8 < 0.25)
    shade = np.where(windows, np.float32(0.55), np.where(gaps, 0.7, canvas.rng.uniform(0.8, 1.0)).astype(np.float32))
    where = np.nonzero(covered)
    canvas.image[:, half][where] = (flat[where[1]] * shade[where][:, None]).astype(np.uint8)
    canvas.label[:, half][where] = classes[where[1]]


def _texture(canvas: Canvas) -> None:
    """Multiply surfaces by noise of their class's strength."""
    strength = np.full(256, canvas.look.plain, dtype=np.float32)
    strength[CLASS["sky"]] = 0
    for name, value in canvas.look.texture.items():
        strength[CLASS[name]] = value
    factor = ((1 + strength[canvas.label] * _tile(canvas, 1)) * 256).astype(np.int32)
    canvas.image[:] = np.minimum((canvas.image * factor[..., None]) >> 8, 255).astype(np.uint8)


def _objects(canvas: Canvas, curb: float, front: float) -> None:
    """Place every kind of object, then paint from far to near."""
    rng, places = canvas.rng, []
    for name, (low, high) in canvas.look.counts.items():
        for _ in range(int(rng.integers(low, high + 1))):
            side = 1 if rng.random() < 0.5 else -1
            z = 5 + 27 * float(rng.random()) ** 1.4
            if name in ROADSIDE:
                places.append((z, side * float(rng.uniform(curb + 0.3, front + 1)), name))
            elif name in WALKING:
                places.append((0.7 * z, side * float(rng.uniform(curb * 0.7, front)), name))
            else:
                places.append((z + 2, side * float(rng.uniform(0.8, curb - 0.6)), name))
    for z, x, name in sorted(places, reverse=True):
        if name in DRIVING:
            paint, width = DRIVING[name]
            shadow(canvas, x, z, width)
        else:
            paint = ROADSIDE.get(name) or WALKING[name]
        paint(canvas, x, z)


def _photograph(canvas: Canvas) -> np.ndarray:
    """Exposure, white balance, contrast, vignette, blur and sensor noise of the look's camera."""
    style = canvas.look
    exposed = np.arange(256) * canvas.rng.uniform(*style.gain)
    table = np.clip((exposed - 128) * style.contrast + 128, 0, 255)
    curve = np.stack([np.clip(table * tint / 128, 0, 255) for tint in style.tint], axis=-1).astype(np.uint8)
    image = cv2.LUT(canvas.image, curve[None])
    if style.blur:
        image = cv2.GaussianBlur(image, (style.blur, style.blur), 0)
    if style.vignette or style.noise:
        rows = (np.arange(canvas.height, dtype=np.float32) * 2 / canvas.height - 1) ** 2
        columns = (np.arange(canvas.width, dtype=np.float32) * 2 / canvas.width - 1) ** 2
        light = ((1 - style.vignette * (rows[:, None] + columns[None]) / 2) * 256).astype(np.int32)
        grain = canvas.rng.integers(-style.noise, style.noise + 1, image.shape, dtype=np.int16)
        image = np.clip(((image.astype(np.int32) * light[..., None]) >> 8) + grain, 0, 255).astype(np.uint8)
    return image


assert set(_HEIGHTS) == set(_SEGMENTS) and set(_HEIGHTS) - {"none"} < set(CITYSCAPES19.classes)
