"""Prediction grids: colours, places and files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from da_toolkit.data.figures import prediction_grid, save_png
from da_toolkit.data.labels import CITYSCAPES19


def page() -> np.ndarray:
    images = [np.full((50, 100, 3), 200, dtype=np.uint8), np.full((100, 100, 3), 90, dtype=np.uint8)]
    road, sky = (np.full((25, 50), CITYSCAPES19.index(name), dtype=np.uint8) for name in ("road", "sky"))
    ignored = np.full((25, 50), 255, dtype=np.uint8)
    return prediction_grid(
        images,
        {"adapted": [road, sky], "label": [sky, ignored]},
        CITYSCAPES19,
        tile_width=120,
    )


def area(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((picture == color).all(-1).sum())


def test_tiles_have_the_classes_colours_and_the_images_shape() -> None:
    picture = page()
    assert picture.dtype == np.uint8 and picture.shape[1] == 2 * 16 + 3 * 120 + 2 * 6
    patch = 12 * 12 + 2 * 12 + 1  # at most, in the legend
    first, second = 120 * 60, 120 * 120
    assert 0 <= area(picture, CITYSCAPES19.palette[0]) - first <= patch
    assert 0 <= area(picture, CITYSCAPES19.palette[CITYSCAPES19.index("sky")]) - first - second <= patch
    assert 0 <= area(picture, (0, 0, 0)) - second <= patch
    assert area(picture, (200, 200, 200)) >= first and area(picture, (90, 90, 90)) >= second


def test_columns_stand_in_the_order_given() -> None:
    middle = page()[16 + 24 + 30]  # a row of pixels through the first tiles
    road, sky = CITYSCAPES19.palette[0], CITYSCAPES19.palette[CITYSCAPES19.index("sky")]
    for number, color in enumerate(((200, 200, 200), road, sky)):
        assert tuple(middle[16 + number * 126 + 60]) == color


def test_the_legend_shows_every_class() -> None:
    picture = page()
    assert all(area(picture, color) >= 60 for color in CITYSCAPES19.palette)


def test_unequal_columns_are_refused() -> None:
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="'label' has 0 entries for 1 images"):
        prediction_grid([image], {"label": []}, CITYSCAPES19)
    with pytest.raises(ValueError, match="at least one image"):
        prediction_grid([], {}, CITYSCAPES19)


def test_saved_pictures_read_back_as_rgb(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    save_png(tmp_path / "pictures" / "grid.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "pictures" / "grid.png")), picture)
