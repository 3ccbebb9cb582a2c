"""Are the images pictures? Constant ones, nearly black ones, copies within a split, shapes that training distorts."""

from collections import defaultdict

import numpy as np

from da_toolkit.check.look import ImageLook, SplitLook
from da_toolkit.check.report import Report, few
from da_toolkit.data.domain import Domain

_FLAT = 3  # largest difference of values in an image that shows nothing
_DARK = 12  # mean of 255 below which the values were probably never scaled
_DISTORTED = 1.15


def is_flat(image: ImageLook) -> bool:
    """Whether an image has one value all over."""
    return image.contrast <= _FLAT


def brightness(look: SplitLook) -> tuple[float, float]:
    """Mean and deviation of grey values 0..255 over a split; nan without a readable image."""
    thumbs = [image.thumb for image in look.images if image.thumb is not None]
    return (float(np.mean(thumbs)), float(np.std(thumbs))) if thumbs else (float("nan"), float("nan"))


def judge_images(look: SplitLook, domain: Domain | None, report: Report) -> None:
    """Add what the images of a split are like."""
    read = [image for image in look.images if image.size is not None]
    if not read:
        return
    flat = [image.key for image in read if is_flat(image)]
    if flat:
        report.add("warning", "constant_images", f"{len(flat)} of {len(read)} images show one value only: {few(flat)}.")
    mean, deviation = brightness(look)
    report.add("fact", "brightness", f"mean brightness {mean:.0f} of 255, deviation {deviation:.0f}")
    if mean < _DARK and len(flat) < len(read):
        report.add("warning", "dark", f"images are nearly black (mean {mean:.1f} of 255): were their values scaled?")
    same: dict[str, list[str]] = defaultdict(list)
    for image in read:
        if not is_flat(image):
            same[image.digest].append(image.key)
    copies = [keys for keys in same.values() if len(keys) > 1]
    if copies:
        more = sum(len(keys) - 1 for keys in copies)
        report.add("warning", "copies", f"{more} of {len(read)} images are copies of others, such as {few(copies[0])}.")
    if domain is not None:
        _judge_shape(read, domain, report)


def _judge_shape(read: list[ImageLook], domain: Domain, report: Report) -> None:
    """Training resizes to `size` whatever the shape was."""
    wanted = domain.size[1] / domain.size[0]
    shapes = np.array([image.size[1] / image.size[0] for image in read if image.size is not None])
    apart = np.maximum(shapes / wanted, wanted / shapes) > _DISTORTED
    if apart.any():
        odd = shapes[apart][0]
        report.add(
            "warning",
            "distorted",
            f"{int(apart.sum())} of {len(read)} images are distorted by `size` ({domain.size[1]}x{domain.size[0]}, "
            f"{wanted:.2f} wide for 1 high): the first is {odd:.2f} wide. Set `size` in the shape of the images.",
        )
