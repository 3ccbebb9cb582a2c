"""Joint CPU augmentation of image and label with albumentations, seeded per image."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from da_toolkit.errors import UserError

if TYPE_CHECKING:
    import albumentations as A

NEAREST = cv2.INTER_NEAREST_EXACT
"""How labels move, as in Pillow. OpenCV's INTER_NEAREST takes the pixel in which the upper left corner lies: half a
pixel beside the image."""


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

    def build(self, size: tuple[int, int]) -> "A.Compose":
        """The pipeline for images brought to `size` (height, width). Labels move by nearest neighbour."""
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network for a newer release
        import albumentations as A

        height, width = self.crop or size
        if height > size[0] or width > size[1]:
            raise UserError(f"augmentation.crop {(height, width)} is larger than the domain's size {tuple(size)}.")
        fills = max(height / size[0], width / size[1]) * (1 + 1e-6)  # or rounding would leave a pixel missing
        steps: list[A.BasicTransform | A.BaseCompose] = [
            A.Resize(  # as `resized` and `resized_label`
                *size, interpolation=cv2.INTER_CUBIC, mask_interpolation=NEAREST, area_for_downscale="image"
            )
        ]
        if self.scale != (1.0, 1.0):
            low, high = (max(zoom, fills) for zoom in self.scale)
            zoom = A.RandomScale((low - 1, high - 1), mask_interpolation=NEAREST, area_for_downscale="image", p=1)
            steps.append(zoom)
        if self.scale != (1.0, 1.0) or self.crop is not None:
            steps.append(A.RandomCrop(height, width))
        if self.flip:
            steps.append(A.HorizontalFlip(p=0.5))
        if self.color:
            c = self.color
            jitter = A.ColorJitter((1 - 0.6 * c, 1 + 0.6 * c), (1 - 0.6 * c, 1 + 0.6 * c), (1 - c, 1 + c), 0.1 * c)
            steps += [jitter, A.RandomGamma((round(100 - 50 * c), round(100 + 100 * c)), p=0.5)]
            steps += [A.RGBShift(round(40 * c), round(40 * c), round(40 * c), p=0.5), A.ToGray(p=0.1 * c)]
        if self.blur:
            steps.append(A.OneOf([A.GaussianBlur((3, 5)), A.GaussNoise((0.02, 0.08))], p=self.blur))
        return A.Compose(steps, additional_targets={"regions": "mask"})


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H,W,3] -> [*size,3], in training and evaluation alike.

    Bicubic up; down, each result is the mean of the area it covers, because bicubic would skip pixels and alias.
    """
    if image.shape[:2] == size:
        return image
    grows = image.shape[0] <= size[0] and image.shape[1] <= size[1]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC if grows else cv2.INTER_AREA)


def resized_label(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels or region numbers [H,W] -> [*size], each that of the pixel in which its centre lies."""
    return cv2.resize(values, size[::-1], interpolation=NEAREST)


def augment(
    pipeline: "A.Compose",
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
    pipeline.set_random_seed(seed)
    maps = {"mask": label, "regions": regions}
    moved = pipeline(image=image, **{name: values for name, values in maps.items() if values is not None})
    return moved["image"], moved.get("mask"), moved.get("regions")
