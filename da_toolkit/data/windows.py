"""Resizes only as much of an image or a label map as a crop needs, to the bit as if all of it were resized."""

import math
from functools import lru_cache

import cv2
import numpy as np

NEAREST = cv2.INTER_NEAREST_EXACT
"""How labels move, as in Pillow. OpenCV's INTER_NEAREST takes the pixel in which the upper left corner lies: half a
pixel beside the image."""

Size = tuple[int, int]
"""Height and width."""

_LANES = 16  # results that one vector instruction makes; the rest of a line is computed in another way
_BEYOND = 4  # source pixels, more than what INTER_LINEAR looks at beside the area that a result covers


def reach(corner: Size, source: Size, result: Size, how: int) -> Size:
    """Of a source, the rows and columns from its upper left corner on that the `corner` of its `result` is made of.

    All of them for INTER_CUBIC, whose rounding depends on the width that is computed (by 1 of 255, in few pixels).
    """
    if how == cv2.INTER_CUBIC:
        return source
    first, second = (_reach(*sides) for sides in zip(corner, source, result, strict=True))
    return first, second


def _reach(corner: int, source: int, result: int) -> int:
    corner = -(-corner // _LANES) * _LANES
    return source if corner >= result else min(source, math.ceil(corner * source / result) + _BEYOND)


def resized_corner(image: np.ndarray, source: Size, result: Size, how: int, corner: Size) -> np.ndarray:
    """Of an image brought from `source` to `result`, at least the `corner`, [>=rows, >=columns, 3].

    Args:
        image: uint8 [H,W,3]; as much of the source as `reach` says, or more.
        how: INTER_AREA, INTER_LINEAR or INTER_CUBIC.
    """
    if source == result:
        return image
    rows, columns = reach(corner, source, result, how)
    if (rows, columns) == source:
        return cv2.resize(image, result[::-1], interpolation=how)
    scale_y, scale_x = (to / of for to, of in zip(result, source, strict=True))  # as OpenCV computes them
    return cv2.resize(image[:rows, :columns], None, fx=scale_x, fy=scale_y, interpolation=how)


@lru_cache(maxsize=256)
def nearest(source: int, result: int) -> np.ndarray:
    """int32 [result]: of a line of `source` pixels the ones that `resized_label` takes."""
    return cv2.resize(np.arange(source, dtype=np.int32)[None], (result, 1), interpolation=NEAREST)[0]
