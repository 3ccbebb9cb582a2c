"""Pictures with which a person can see whether RPT does something sensible."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_INK, _PAPER = (32, 36, 44), (255, 255, 255)


def with_borders(image: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """The image uint8 [H,W,3] with the borders of its regions int [H,W] in yellow."""
    border = np.zeros(regions.shape, dtype=bool)
    border[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    border[1:] |= regions[1:] != regions[:-1]
    drawn = image.copy()
    drawn[border] = (255, 220, 0)
    return drawn


def heat_map(image: np.ndarray, plausibility: np.ndarray, threshold: float) -> np.ndarray:
    """The grey image uint8 [H,W,3], redder where the logic finds its category [h,w], 0..1, less plausible.

    Full red is `threshold` and below, and half of it the threshold's square root.
    """
    size = image.shape[1::-1]
    found = cv2.resize(plausibility.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    doubt = np.clip(np.log(found.clip(1e-6, 1)) / np.log(min(0.99, max(1e-6, threshold))), 0, 1)
    grey = np.repeat(image.mean(2, keepdims=True), 3, axis=2) * 0.6 + 80
    red = np.array([220, 20, 30], dtype=np.float32)
    return (grey * (1 - doubt[..., None]) + red * doubt[..., None]).clip(0, 255).astype(np.uint8)


def one_of_each(sizes: Sequence[int], labels: Sequence[int]) -> list[int]:
    """Numbers of all clusters: the largest one of each label, then the second largest of each, and so on."""
    rank: dict[int, int] = {}
    order = []
    for cluster in sorted(range(len(sizes)), key=lambda cluster: -sizes[cluster]):
        label = labels[cluster]
        rank[label] = rank.get(label, 0) + 1
        order.append((rank[label], -sizes[cluster], cluster))
    return [cluster for *_, cluster in sorted(order)]


def crop_of(image: np.ndarray, inside: np.ndarray, side: int = 64) -> np.ndarray:
    """uint8 [side,side,3]: the surroundings of a region, everything else dimmed."""
    rows, columns = np.nonzero(inside)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    reach = max(bottom - top, right - left) // 4 + 2
    window = (
        slice(max(0, top - reach), min(len(image), bottom + reach)),
        slice(max(0, left - reach), min(image.shape[1], right + reach)),
    )
    part = np.where(inside[window][..., None], image[window], image[window] // 3)
    return cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)


def contact_sheet(rows: Sequence[tuple[str, Sequence[np.ndarray]]], side: int = 64) -> np.ndarray:
    """One line a cluster: its title and crops [side,side,3] of its regions side by side. uint8 RGB."""
    widest = max((len(crops) for _, crops in rows), default=0)
    page = Image.new("RGB", (220 + widest * (side + 4), max(1, len(rows)) * (side + 4)), _PAPER)
    draw = ImageDraw.Draw(page)
    for line, (title, crops) in enumerate(rows):
        top = line * (side + 4)
        draw.text((6, top + side // 2), title, _INK, ImageFont.load_default(13), anchor="lm")
        for place, crop in enumerate(crops):
            page.paste(Image.fromarray(crop), (220 + place * (side + 4), top))
    return np.asarray(page)
