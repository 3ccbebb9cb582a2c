"""Joint CPU augmentation of image and label, seeded per image: a window is drawn, then resized, then changed."""

import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from da_toolkit.data.windows import NEAREST, Size, nearest, reach, resized_corner
from da_toolkit.errors import UserError

if TYPE_CHECKING:
    import albumentations as A


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image; the label follows every geometric one. The default is none."""

    scale: tuple[float, float] = (1.0, 1.0)
    """Range of random zoom, relative to the domain's size. It never goes below what fills the crop: nothing is padded,
    because networks and discriminators learn to tell domains by their padding."""
    flip: bool = False
    """Mirror half of the images left to right."""
    color: float = 0.0
    """Strength 0..1 of random brightness, contrast, saturation, hue, gamma and channel changes."""
    blur: float = 0.0
    """Share 0..1 of images that are blurred or noised."""
    crop: tuple[int, int] | None = None
    """Height and width of a random crop; by default the domain's whole size."""

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high:
            raise UserError(f"augmentation.scale is a range such as (0.5, 2.0), got {self.scale}.")
        for name in ("color", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"augmentation.{name} lies in 0..1, got {getattr(self, name)}.")

    def build(self, size: tuple[int, int]) -> "Pipeline":
        """The changes of images brought to `size` (height, width). Labels move by nearest neighbour."""
        height, width = self.crop or size
        if height > size[0] or width > size[1]:
            raise UserError(f"augmentation.crop {(height, width)} is larger than the domain's size {tuple(size)}.")
        fills = max(height / size[0], width / size[1]) * (1 + 1e-6)  # or rounding would leave a pixel missing
        zoom = None if self.scale == (1.0, 1.0) else (max(self.scale[0], fills), max(self.scale[1], fills))
        return Pipeline((size[0], size[1]), zoom, (height, width), self._after_the_crop())

    def _after_the_crop(self) -> "A.Compose | None":
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network for a newer release
        import albumentations as A

        steps: list[A.BasicTransform | A.BaseCompose] = []
        if self.flip:
            steps.append(A.HorizontalFlip(p=0.5))
        if self.color:
            c = self.color
            jitter = A.ColorJitter((1 - 0.6 * c, 1 + 0.6 * c), (1 - 0.6 * c, 1 + 0.6 * c), (1 - c, 1 + c), 0.1 * c)
            steps += [jitter, A.RandomGamma((round(100 - 50 * c), round(100 + 100 * c)), p=0.5)]
            steps += [A.RGBShift(round(40 * c), round(40 * c), round(40 * c), p=0.5), A.ToGray(p=0.1 * c)]
        if self.blur:
            steps.append(A.OneOf([A.GaussianBlur((3, 5)), A.GaussNoise((0.02, 0.08))], p=self.blur))
        return A.Compose(steps, additional_targets={"regions": "mask"}) if steps else None


@dataclass(frozen=True)
class Pipeline:
    """An augmentation of images of any size that are brought to `size` (height, width)."""

    size: Size
    zoom: tuple[float, float] | None
    """Range of the zoom; none = no zoom."""
    crop: Size
    after: "A.Compose | None"
    """What is done with the crop."""

    def window(self, seed: int) -> "Window":
        """Where the crop lies."""
        size, how, stream = self.size, cv2.INTER_LINEAR, random.Random(seed)
        if self.zoom is not None:
            factor = stream.uniform(*self.zoom)
            size = int(size[0] * factor), int(size[1] * factor)
            how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        top, left = (int((side - crop + 1) * stream.random()) for side, crop in zip(size, self.crop, strict=True))
        return Window(self.size, size, how, slice(top, top + self.crop[0]), slice(left, left + self.crop[1]))


@dataclass(frozen=True)
class Window:
    """What a crop shows of an image that is brought to `size`, then to `zoomed`; sizes are (height, width)."""

    size: Size
    zoomed: Size
    how: int
    """Interpolation of the zoom."""
    rows: slice
    columns: slice

    def of_image(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H,W,3] -> [*crop,3]; no more is resized than is needed."""
        height, width = image.shape[:2]
        corner = self.rows.stop, self.columns.stop
        needed = corner if self.zoomed == self.size else reach(corner, self.size, self.zoomed, self.how)
        image = resized_corner(image, (height, width), self.size, _how((height, width), self.size), needed)
        return resized_corner(image, self.size, self.zoomed, self.how, corner)[self.rows, self.columns]

    def of_map(self, values: np.ndarray) -> np.ndarray:
        """Labels or region numbers [H,W] -> [*crop]."""
        if values.shape == self.size == self.zoomed:
            return values[self.rows, self.columns]
        rows, columns = (
            nearest(source, size)[nearest(size, zoomed)[kept]]
            for source, size, zoomed, kept in zip(
                values.shape, self.size, self.zoomed, (self.rows, self.columns), strict=True
            )
        )
        return values[rows].take(columns, axis=1)


def _how(source: Size, size: Size) -> int:
    grows = source[0] <= size[0] and source[1] <= size[1]
    return cv2.INTER_CUBIC if grows else cv2.INTER_AREA


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H,W,3] -> [*size,3], in training and evaluation alike.

    Bicubic up; down, each result is the mean of the area it covers, because bicubic would skip pixels and alias.
    """
    if image.shape[:2] == size:
        return image
    height, width = image.shape[:2]
    return cv2.resize(image, size[::-1], interpolation=_how((height, width), size))


def resized_label(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels or region numbers [H,W] -> [*size], each that of the pixel in which its centre lies."""
    return cv2.resize(values, size[::-1], interpolation=NEAREST)


def augment(
    pipeline: Pipeline,
    image: np.ndarray,
    label: np.ndarray | None,
    seed: int,
    regions: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Apply a pipeline with its own random stream: the same seed always gives the same result.

    Args:
        image: uint8 [H,W,3].
        label: uint8 [H,W].
        regions: int32 [H,W].
    """
    window = pipeline.window(seed)
    moved = {"image": window.of_image(image)}
    moved |= {name: window.of_map(v) for name, v in (("mask", label), ("regions", regions)) if v is not None}
    if pipeline.after is not None:
        _set_seeds(pipeline.after, seed)
        moved = pipeline.after(**moved)
    return moved["image"], moved.get("mask"), moved.get("regions")


def _set_seeds(steps: "A.BaseCompose", seed: int) -> None:
    """Give every transform a seed of its own. albumentations gives all of them the same one, by which a flip would
    come with one half of all colours."""
    import albumentations as A

    steps.set_random_seed(seed)
    for place, step in enumerate(steps.transforms):
        own = int(np.random.SeedSequence((seed, place)).generate_state(1)[0])
        if isinstance(step, A.BaseCompose):
            _set_seeds(step, own)
        else:
            step.set_random_seed(own)
