"""Pictures of predictions beside their images and labels."""

from pathlib import Path

import cv2
import numpy as np

from da_toolkit.data.labels import LabelSpace

_GAP, _HEADER, _FONT = 6, 26, cv2.FONT_HERSHEY_SIMPLEX
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


def prediction_grid(images: list[np.ndarray], columns: dict[str, list[np.ndarray]], space: LabelSpace) -> np.ndarray:
    """One row an image: the image, then each column's train ids in the label space's colours, and a legend.

    Args:
        images: uint8 RGB [h,w,3], all of one size.
        columns: title -> train ids [H,W] an image; drawn at the images' size.

    Returns:
        uint8 RGB picture.
    """
    height, width = images[0].shape[:2]
    tiles = {"image": images}
    for title, labels in columns.items():
        colored = [space.colorize(label) for label in labels]
        tiles[title] = [cv2.resize(c, (width, height), interpolation=cv2.INTER_NEAREST) for c in colored]
    total = (width + _GAP) * len(tiles) + _GAP
    legend = _legend(space, total)
    rows = len(images)
    page = np.full((_HEADER + (height + _GAP) * rows + len(legend), total, 3), _PAPER, dtype=np.uint8)
    for number, (title, pictures) in enumerate(tiles.items()):
        left = _GAP + number * (width + _GAP)
        cv2.putText(page, title, (left, _HEADER - 8), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
        for row, picture in enumerate(pictures):
            top = _HEADER + row * (height + _GAP)
            page[top : top + height, left : left + width] = picture
    page[-len(legend) :] = legend
    return page


def _legend(space: LabelSpace, width: int) -> np.ndarray:
    """Colour patches with class names, broken into lines that fit `width`."""
    places, left, top, line = [], _GAP, 4, 20
    for name, color in zip(space.classes, space.palette, strict=True):
        needed = 20 + cv2.getTextSize(name, _FONT, 0.4, 1)[0][0] + 10
        if left + needed > width and left > _GAP:
            left, top = _GAP, top + line
        places.append((name, color, left, top))
        left += needed
    strip = np.full((top + line, width, 3), _PAPER, dtype=np.uint8)
    for name, color, x, y in places:
        strip[y : y + 14, x : x + 14] = color
        cv2.putText(strip, name, (x + 20, y + 12), _FONT, 0.4, _INK, 1, cv2.LINE_AA)
    return strip


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write a uint8 RGB picture. Raises OSError if the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, encoded = cv2.imencode(".png", picture[..., ::-1])
    if not done:
        raise OSError(f"{path} could not be encoded")
    path.write_bytes(encoded.tobytes())
