"""A picture and its labels, painted together, far things first."""

from collections.abc import Sequence

import cv2
import numpy as np

from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.data.streets.looks import Color, Look

CLASS = {name: number for number, name in enumerate(CITYSCAPES19.classes)}
CAMERA_HEIGHT = 1.5
Point = tuple[float, float]


def _byte(value: float) -> int:
    return min(255, max(0, int(value)))


class Canvas:
    """uint8 image [H,W,3] and label [H,W] behind a pinhole camera that looks along the street (z, metres)."""

    def __init__(self, size: tuple[int, int], horizon: float, look: Look, rng: np.random.Generator) -> None:
        self.height, self.width = size
        self.look, self.rng = look, rng
        self.horizon = horizon * self.height
        self.focal = 0.6 * self.width
        self.center = self.width / 2
        self.image = np.zeros((*size, 3), dtype=np.uint8)
        self.label = np.zeros(size, dtype=np.uint8)

    def color(self, name: str) -> Color:
        """One of the look's base colours for a class, varied: 0..255."""
        choices, spread = self.look.colors[name], self.look.variation
        pick, level, *tone = self.rng.random(5).tolist()
        lift = (2 * level - 1) * spread
        red, green, blue = (
            base + lift + 12 * t - 6 for base, t in zip(choices[int(pick * len(choices))], tone, strict=True)
        )
        return _byte(red), _byte(green), _byte(blue)

    def hazed(self, color: Color, z: float) -> Color:
        """The colour as seen from `z` metres away."""
        clear = self.look.haze / (z + self.look.haze)
        (red, green, blue), (r, g, b) = color, self.look.haze_color
        return (
            int(r + (red - r) * clear),
            int(g + (green - g) * clear),
            int(b + (blue - b) * clear),
        )

    def place(self, x: float, y: float, z: float) -> Point:
        """Pixel (u, v) of the point x metres right, y above the ground, z ahead."""
        return self.center + self.focal * x / z, self.horizon + self.focal * (CAMERA_HEIGHT - y) / z

    def box(self, name: str, color: Color, x: float, y: float, z: float, w: float, h: float) -> None:
        """A rectangle facing the camera: centre x, bottom y, width w, height h; at least one pixel thick."""
        (left, bottom), (right, top) = self.place(x - w / 2, y, z), self.place(x + w / 2, y + h, z)
        first, last = (
            (round(left), round(top)),
            (max(round(right) - 1, round(left)), max(round(bottom) - 1, round(top))),
        )
        cv2.rectangle(self.image, first, last, self.hazed(color, z), -1)
        cv2.rectangle(self.label, first, last, CLASS[name], -1)

    def disc(self, name: str, color: Color, x: float, y: float, z: float, w: float, h: float) -> None:
        """An ellipse with centre (x, y) and axes w and h."""
        u, v = self.place(x, y, z)
        axes = (max(1, round(self.focal * w / z / 2)), max(1, round(self.focal * h / z / 2)))
        cv2.ellipse(self.image, (round(u), round(v)), axes, 0, 0, 360, self.hazed(color, z), -1)
        cv2.ellipse(self.label, (round(u), round(v)), axes, 0, 0, 360, CLASS[name], -1)

    def shape(self, name: str, color: Color, points: Sequence[Point], z: float) -> None:
        """A polygon of (x, y) points at distance z."""
        pixels = np.array([[round(c) for c in self.place(x, y, z)] for x, y in points], dtype=np.int32)
        cv2.fillPoly(self.image, [pixels], self.hazed(color, z))
        cv2.fillPoly(self.label, [pixels], CLASS[name])

    def stroke(self, name: str, color: Color, a: Point, b: Point, z: float, w: float) -> None:
        """A line from (x, y) a to b, w metres thick and at least one pixel."""
        thickness = max(1, round(self.focal * w / z))
        first, last = (tuple(round(c) for c in self.place(x, y, z)) for x, y in (a, b))
        cv2.line(self.image, first, last, self.hazed(color, z), thickness)
        cv2.line(self.label, first, last, CLASS[name], thickness)
