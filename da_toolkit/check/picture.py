"""A page to look at: one random image of each split, and its labels over it. A look finds what counts miss."""

from pathlib import Path

import numpy as np

from da_toolkit.check.look import SplitLook
from da_toolkit.check.report import Report, few
from da_toolkit.data.domain import DomainData
from da_toolkit.data.figures import prediction_grid, save_png
from da_toolkit.errors import UserError

_COVER = 0.55  # how much of the label's colour is laid over the image


def save_look(
    file: Path, splits: dict[str, tuple[DomainData, bool]], looks: dict[str, SplitLook], report: Report
) -> None:
    """Write the page, and add to the report what it shows and what could not be shown.

    Args:
        splits: role -> the data, and whether its labels may be opened; without labels the image stands alone.
        looks: role -> what was seen of all images; one that cannot be read, or whose label cannot, is not drawn.

    Raises:
        UserError: the file cannot be written.
    """
    random = np.random.default_rng()
    images: list[np.ndarray] = []
    columns: dict[str, list[np.ndarray]] = {"label over image": [], "label": []}
    shown = []
    for role, (data, opens) in splits.items():
        seen = looks[role].images
        whole = [index for index, found in enumerate(seen) if not found.errors and not found.label_missing]
        broken = [found.key for found in seen if found.errors or found.label_missing]
        if broken:
            left = "left out of the picture, for they or their labels cannot be read"
            report.add("fact", "picture", f"{role}: {few(broken)} {left}" + " (nothing is left)" * (not whole))
        if not whole:
            continue
        index = whole[int(random.integers(len(whole)))]
        try:
            image = data.image(index)
            label = data.label(index) if opens else None
        except UserError as error:  # the disk may have gone since it was looked at
            report.add("fact", "picture", f"{role}: {error}")
            continue
        color = image if label is None else data.label_space.colorize(label)
        images.append(image)
        columns["label over image"].append(_laid_over(image, color))
        columns["label"].append(np.full_like(image, 255) if label is None else color)
        shown.append(f"{role} {data.key(index)}{'' if opens else ' (labels not opened)'}")
    if not images:
        return
    space = next(iter(splits.values()))[0].label_space
    try:
        save_png(file, prediction_grid(images, columns, space))
    except OSError as error:
        raise UserError(
            f"--picture: {file} cannot be written ({error.strerror or error}). Name another file."
        ) from error
    report.add("fact", "picture", f"{file} shows {'; '.join(shown)}")


def _laid_over(image: np.ndarray, color: np.ndarray) -> np.ndarray:
    if image.shape != color.shape:
        return image
    mixed = (1 - _COVER) * image + _COVER * color
    return np.where((color == 0).all(-1, keepdims=True), image // 2, mixed).round().astype(np.uint8)
