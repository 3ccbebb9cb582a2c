"""Pictures of predictions beside their images and labels."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from da_toolkit.data.labels import LabelSpace
from da_toolkit.data.windows import NEAREST

_MARGIN, _GAP = 16, 6
_PAPER, _INK = (255, 255, 255), (32, 36, 44)


def prediction_grid(
    images: list[np.ndarray],
    columns: dict[str, list[np.ndarray]],
    space: LabelSpace,
    tile_width: int = 384,
) -> np.ndarray:
    """A page with one row an image: the image, then each column's classes in colour; a legend below.

    Args:
        images: uint8 RGB [H,W,3], of any sizes.
        columns: title -> train ids [H',W'] for each image, such as {"source only": ..., "label": ...}; ids
            are enlarged or shrunk to the tile by nearest neighbour, and 255 (ignored) is black. An entry
            uint8 [H',W',3] is shown as it is.
        space: names and colours of the classes.
        tile_width: pixels; a tile's height follows from its image.

    Returns:
        uint8 RGB picture.

    Raises:
        ValueError: there is no image, or a column has another number of entries.
    """
    if not images:
        raise ValueError("a prediction grid needs at least one image")
    counts = {title: len(labels) for title, labels in columns.items()}
    for title, count in counts.items():
        if count != len(images):
            raise ValueError(f"{title!r} has {count} entries for {len(images)} images")
    title_size, text_size = max(12, tile_width // 22), max(10, tile_width // 30)
    titles = ["image", *columns]
    heights = [max(1, round(tile_width * image.shape[0] / image.shape[1])) for image in images]
    width = 2 * _MARGIN + len(titles) * (tile_width + _GAP) - _GAP
    header = _MARGIN + 2 * title_size
    legend = _Legend(space, width, text_size)
    page = Image.new("RGB", (width, header + sum(heights) + len(images) * _GAP + legend.height), _PAPER)
    draw = ImageDraw.Draw(page)
    lefts = [_MARGIN + number * (tile_width + _GAP) for number in range(len(titles))]
    for left, title in zip(lefts, titles, strict=True):
        position = (left + tile_width // 2, header - title_size)
        draw.text(position, title, _INK, ImageFont.load_default(title_size), anchor="mm")
    top = header
    for row, (image, height) in enumerate(zip(images, heights, strict=True)):
        size = (tile_width, height)
        shrinks = image.shape[1] > tile_width
        page.paste(
            Image.fromarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)),
            (lefts[0], top),
        )
        for left, labels in zip(lefts[1:], columns.values(), strict=True):
            shown = labels[row] if labels[row].ndim == 3 else space.colorize(labels[row])
            tile = cv2.resize(shown, size, interpolation=NEAREST)
            page.paste(Image.fromarray(tile), (left, top))
        top += height + _GAP
    legend.draw(draw, top)
    return np.asarray(page)


class _Legend:
    """Colour patches with class names, in lines that fit the page."""

    def __init__(self, space: LabelSpace, width: int, text_size: int) -> None:
        self.font = ImageFont.load_default(text_size)
        self.patch = round(1.2 * text_size)
        self.places: list[tuple[str, tuple[int, int, int], int, int]] = []
        left, top = _MARGIN, _MARGIN
        entries = [*zip(space.classes, space.palette, strict=True), ("ignored", (0, 0, 0))]
        for name, color in entries:
            needed = round(self.patch * 1.5 + self.font.getlength(name) + 1.5 * text_size)
            if left + needed > width and left > _MARGIN:
                left, top = _MARGIN, top + 2 * text_size
            self.places.append((name, color, left, top))
            left += needed
        self.height = top + self.patch + _MARGIN

    def draw(self, draw: ImageDraw.ImageDraw, top: int) -> None:
        for name, color, x, y in self.places:
            box = (x, top + y, x + self.patch, top + y + self.patch)
            draw.rounded_rectangle(box, radius=self.patch // 5, fill=color)
            draw.text((x + 1.5 * self.patch, top + y + self.patch / 2), name, _INK, self.font, anchor="lm")


def as_png(picture: np.ndarray) -> bytes:
    """The bytes of a PNG file of a uint8 picture: RGB [H,W,3], or one channel [H,W].

    By OpenCV, whose encoder takes a photograph in an eighth of Pillow's time.
    """
    channels = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".png", channels)[1])


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write a uint8 RGB picture [H,W,3], making its folder. Raises OSError if the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, format="PNG")


def save_predictions(
    folder: Path, images: list[np.ndarray], columns: dict[str, list[np.ndarray]], space: LabelSpace
) -> None:
    """Write NUMBER_image.jpg and, for each column of train ids [H,W], NUMBER_COLUMN.png in the classes' colours."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}_image.jpg", quality=90)
        for title, labels in columns.items():
            save_png(folder / f"{number}_{title}.png", space.colorize(labels[number]))
