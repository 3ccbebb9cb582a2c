"""Painters of the things in a street. Each takes the canvas and a place (x, z) in metres."""

from collections.abc import Callable

import numpy as np

from da_toolkit.data.streets.canvas import Canvas
from da_toolkit.data.streets.looks import Color

_DARK, _GLASS, _SKIN = (26, 26, 28), (70, 86, 98), (206, 160, 130)
_LAMPS = ((220, 50, 40), (230, 180, 50), (60, 200, 90))


def _shaded(color: Color, share: float) -> Color:
    red, green, blue = color
    return min(255, int(red * share)), min(255, int(green * share)), min(255, int(blue * share))


def tree(canvas: Canvas, x: float, z: float) -> None:
    """Trunk and a crown of overlapping blobs."""
    height = canvas.rng.uniform(3.5, 8)
    canvas.stroke("vegetation", (84, 66, 50), (x, 0), (x, height * 0.6), z, 0.3)
    color = canvas.color("vegetation")
    for _ in range(7):
        dx, dy = canvas.rng.uniform(-1, 1, 2).tolist()
        spread = height * canvas.rng.uniform(0.25, 0.45)
        shade = _shaded(color, canvas.rng.uniform(0.75, 1.1))
        canvas.disc("vegetation", shade, x + dx * height * 0.2, height * (0.75 + 0.18 * dy), z, spread, spread)


def lamp(canvas: Canvas, x: float, z: float) -> None:
    """A street lamp: pole and arm."""
    height, color = canvas.rng.uniform(5, 8), canvas.color("pole")
    canvas.stroke("pole", color, (x, 0), (x, height), z, 0.34)
    canvas.stroke("pole", color, (x, height), (x - np.sign(x) * 1.6, height), z, 0.26)


def light(canvas: Canvas, x: float, z: float) -> None:
    """A traffic light on its pole."""
    height = canvas.rng.uniform(3, 4.5)
    canvas.stroke("pole", canvas.color("pole"), (x, 0), (x, height), z, 0.3)
    canvas.box("traffic light", canvas.color("traffic light"), x, height - 0.3, z, 1.0, 2.4)
    lit = int(canvas.rng.integers(3))
    canvas.disc("traffic light", _LAMPS[lit], x, height + 1.6 - 0.65 * lit, z, 0.6, 0.6)


def sign(canvas: Canvas, x: float, z: float) -> None:
    """A round, square or triangular traffic sign on its pole."""
    height, color, size = (
        canvas.rng.uniform(2.2, 3.2),
        canvas.color("traffic sign"),
        canvas.rng.uniform(1.1, 1.9),
    )
    canvas.stroke("pole", canvas.color("pole"), (x, 0), (x, height), z, 0.24)
    kind = int(canvas.rng.integers(3))
    if kind == 0:
        canvas.disc("traffic sign", color, x, height + size / 2, z, size, size)
    elif kind == 1:
        canvas.box("traffic sign", color, x, height, z, size, size)
    else:
        corners = [(x - size / 2, height), (x + size / 2, height), (x, height + size)]
        canvas.shape("traffic sign", color, corners, z)


def _figure(canvas: Canvas, name: str, x: float, base: float, z: float, height: float) -> None:
    color = canvas.color(name)
    canvas.box(name, _shaded(color, 0.6), x, base, z, 0.42 * height / 1.7, 0.48 * height)
    canvas.box(name, color, x, base + 0.45 * height, z, 0.5 * height / 1.7, 0.4 * height)
    canvas.disc(name, _SKIN, x, base + 0.92 * height, z, 0.16 * height, 0.18 * height)


def person(canvas: Canvas, x: float, z: float) -> None:
    """A standing person."""
    _figure(canvas, "person", x, 0, z, canvas.rng.uniform(1.5, 1.9))


def bicycle(canvas: Canvas, x: float, z: float) -> None:
    """Two wheels and a frame, seen from the side."""
    color = canvas.color("bicycle")
    for side in (-0.55, 0.55):
        canvas.disc("bicycle", _DARK, x + side, 0.36, z, 0.72, 0.72)
        canvas.disc("bicycle", (110, 110, 112), x + side, 0.36, z, 0.5, 0.5)
    canvas.stroke("bicycle", color, (x - 0.55, 0.4), (x + 0.2, 0.9), z, 0.16)
    canvas.stroke("bicycle", color, (x + 0.55, 0.4), (x + 0.35, 1.05), z, 0.16)


def cyclist(canvas: Canvas, x: float, z: float) -> None:
    """A rider on a bicycle."""
    bicycle(canvas, x, z)
    _figure(canvas, "rider", x, 0.55, z, 1.35)


def motorcyclist(canvas: Canvas, x: float, z: float) -> None:
    """A rider on a motorcycle."""
    color = canvas.color("motorcycle")
    for side in (-0.65, 0.65):
        canvas.disc("motorcycle", _DARK, x + side, 0.34, z, 0.7, 0.7)
    canvas.box("motorcycle", color, x, 0.35, z, 1.5, 0.55)
    _figure(canvas, "rider", x - 0.1, 0.75, z, 1.2)


def _wheels(canvas: Canvas, name: str, x: float, z: float, width: float, size: float) -> None:
    for side in (-0.34, 0.34):
        canvas.disc(name, _DARK, x + side * width, size / 2, z, size, size)


def car(canvas: Canvas, x: float, z: float) -> None:
    """From behind on the road, from the side where it is parked or crossing."""
    color = canvas.color("car")
    wide = canvas.rng.random() < 0.35
    width, height = (4.3, 0.75) if wide else (1.8, 0.8)
    cabin = [
        (x - 0.36 * width, 0.9),
        (x + 0.36 * width, 0.9),
        (x + 0.26 * width, 1.5),
        (x - 0.26 * width, 1.5),
    ]
    canvas.shape("car", _shaded(color, 0.85), cabin, z)
    canvas.box("car", _GLASS, x, 0.98, z, 0.5 * width, 0.38)
    canvas.box("car", color, x, 0.25, z, width, height)
    canvas.box("car", _shaded(color, 0.7), x, 0.25, z, width, 0.2)
    if wide:
        _wheels(canvas, "car", x, z, width, 0.66)
    else:
        for side in (-0.36, 0.36):
            canvas.box("car", (190, 40, 36), x + side * width, 0.72, z, 0.3, 0.18)
            canvas.box("car", _DARK, x + side * width, 0, z, 0.26, 0.3)


def truck(canvas: Canvas, x: float, z: float) -> None:
    """A box body and a cab."""
    color = canvas.color("truck")
    canvas.box("truck", color, x, 0.6, z, 2.5, 2.9)
    canvas.box("truck", _shaded(color, 0.6), x, 0.45, z, 2.5, 0.35)
    canvas.box("truck", _shaded(color, 0.85), x, 1.0, z, 2.1, 2.2)
    _wheels(canvas, "truck", x, z, 2.4, 0.9)


def bus(canvas: Canvas, x: float, z: float) -> None:
    """A tall body with a row of windows."""
    color, width = canvas.color("bus"), (8.0 if canvas.rng.random() < 0.4 else 2.6)
    canvas.box("bus", color, x, 0.35, z, width, 2.8)
    panes = max(1, round(width / 1.3))
    for pane in range(panes):
        canvas.box("bus", _GLASS, x + (pane + 0.5) * width / panes - width / 2, 1.5, z, 0.8 * width / panes, 1.1)
    _wheels(canvas, "bus", x, z, width, 0.9)


def train(canvas: Canvas, x: float, z: float) -> None:
    """A tram: long, low, with a stripe."""
    color, width = canvas.color("train"), canvas.rng.uniform(7, 13)
    canvas.box("train", color, x, 0.15, z, width, 3.3)
    canvas.box("train", _shaded(color, 0.55), x, 0.7, z, width, 0.4)
    panes = round(width / 1.8)
    for pane in range(panes):
        canvas.box("train", _GLASS, x + (pane + 0.5) * width / panes - width / 2, 1.6, z, 0.7 * width / panes, 1.2)


def shadow(canvas: Canvas, x: float, z: float, width: float) -> None:
    """Darkens the ground under a vehicle; the ground keeps its label."""
    (left, near), (right, _) = canvas.place(x - width / 2, 0, z), canvas.place(x + width / 2, 0, z)
    far = canvas.place(x, 0, z * 1.12)[1]
    top, bottom = max(0, round(far)), min(canvas.height, round(near) + 1)
    columns = slice(max(0, round(left)), max(0, min(canvas.width, round(right))))
    canvas.image[top:bottom, columns] = canvas.image[top:bottom, columns] // 2


Painter = Callable[[Canvas, float, float], None]

ROADSIDE: dict[str, Painter] = {"tree": tree, "lamp": lamp, "light": light, "sign": sign}
WALKING: dict[str, Painter] = {"person": person, "bicycle": bicycle}
DRIVING: dict[str, tuple[Painter, float]] = {
    "cyclist": (cyclist, 0.8),
    "motorcyclist": (motorcyclist, 1.0),
    "car": (car, 1.9),
    "truck": (truck, 2.6),
    "bus": (bus, 2.7),
    "train": (train, 2.7),
}
"""Painter and width of the shadow, metres."""
