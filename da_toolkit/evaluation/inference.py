"""From images to class decisions at full resolution: one view, flips and scales, or a sliding window."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.models.grid import enlarged, window_starts
from da_toolkit.models.segmenter import Segmenter


@dataclass(frozen=True)
class Inference:
    """How a network decides the classes of an image, and on how many images it is scored."""

    size: tuple[int, int] | None = None
    """Height and width that images are brought to before the network; by default the target's own."""
    flip: bool = False
    """Average with the mirrored image's probabilities."""
    scales: tuple[float, ...] = (1.0,)
    """Average the probabilities over these zooms of `size`."""
    window: tuple[int, int] | None = None
    """Height and width of a sliding window on the resized image; by default the whole image at once."""
    stride: tuple[int, int] | None = None
    """Step of the window; by default two thirds of it."""
    batch_size: int = 4
    """Images a forward pass."""
    images: int | None = None
    """Score only the first images; by default all."""

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("images", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"evaluation.{name} must be at least {least}, got {value}.")
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise UserError(f"evaluation.scales must be positive zooms such as 0.75 1.0 1.25, got {self.scales}.")
        for name in ("size", "window", "stride"):
            value = getattr(self, name)
            if value is not None and (len(value) != 2 or min(value) < 1):
                raise UserError(f"evaluation.{name} must be height and width in pixels, each 1 or more, got {value}.")
        if self.stride and not self.window:
            raise UserError("evaluation.stride needs evaluation.window: set the window's height and width too.")
        if (
            self.stride
            and self.window
            and any(step > side for step, side in zip(self.stride, self.window, strict=True))
        ):
            raise UserError(
                f"evaluation.stride {self.stride} must not exceed evaluation.window {self.window}: "
                "pixels between the windows would be left out."
            )

    def view_sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Height and width of what the network sees of images of `size`: scaled, and no larger than the window."""
        scaled = [_scaled(size, scale) for scale in self.scales]
        if self.window is None:
            return scaled
        return [(min(self.window[0], view[0]), min(self.window[1], view[1])) for view in scaled]


@dataclass(frozen=True)
class Evaluation(Inference):
    """How and how often a network is scored while it trains."""

    every: int = 0
    """Steps between evaluations while training; 0 = only at the end."""
    validators: int = 50
    """Unlabelled target training images (and as many source ones) on which each evaluation also computes the scores
    that need no target labels; 0 = none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("every", "validators"):
            if getattr(self, name) < 0:
                raise UserError(f"evaluation.{name} must be at least 0, got {getattr(self, name)}.")


def predict(model: Segmenter, images: Tensor, settings: Inference, out_size: tuple[int, int]) -> Tensor:
    """Classes int64 [B,*out_size], 0..C-1, decided at resolution `out_size`.

    A single view takes the argmax of its logits, which is that of its probabilities. It is upsampled image by
    image: 19 classes at 2048x1024 are 160 MB each.

    Args:
        images: float RGB [B,3,H,W], 0..1, at the network's input size; the model in `eval` mode.
        out_size: the labels' (height, width).
    """
    if len(settings.scales) == 1 and not settings.flip:
        view, _ = next(_views(images, settings))
        logits, aligned = _logits(model, view, settings)
        return torch.cat([enlarged(part, out_size, aligned).argmax(1) for part in logits.split(1)])
    return predict_probabilities(model, images, settings, out_size).argmax(1)


def predict_probabilities(model: Segmenter, images: Tensor, settings: Inference, out_size: tuple[int, int]) -> Tensor:
    """Class probabilities float32 [B,C,*out_size], 0..1, the mean over all scales and flips.

    Each view's logits are upsampled first (bilinear, with corners aligned where the network's grid is so), then turned
    into probabilities. Where windows overlap, their logits are averaged.

    Args:
        images: float RGB [B,3,H,W], 0..1, at the network's input size; the model in `eval` mode.
        out_size: the labels' (height, width).
    """
    total: Tensor | None = None
    for view, mirrored in _views(images, settings):
        logits, aligned = _logits(model, view, settings)
        probabilities = enlarged(logits, out_size, aligned).softmax(1)
        probabilities = probabilities.flip(3) if mirrored else probabilities
        total = probabilities if total is None else total.add_(probabilities)
    assert total is not None  # `Inference` has at least one scale
    return total.div_(len(settings.scales) * (2 if settings.flip else 1))


def _views(images: Tensor, settings: Inference) -> Iterator[tuple[Tensor, bool]]:
    for scale in settings.scales:
        size = _scaled((images.shape[2], images.shape[3]), scale)
        # Antialias: plain bilinear skips pixels when it shrinks by more than half.
        view = images if scale == 1 else F.interpolate(images, size=size, mode="bilinear", antialias=scale < 1)
        yield view, False
        if settings.flip:
            yield view.flip(3), True


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _logits(model: Segmenter, images: Tensor, settings: Inference) -> tuple[Tensor, bool]:
    """[B,C,h,w] of the whole images, or [B,C,H,W] put together from windows; and whether their corners are aligned."""
    if settings.window is None:
        output = model(images)
        return output.logits, output.align_corners
    height, width = images.shape[2:]
    window = (min(settings.window[0], height), min(settings.window[1], width))
    stride = settings.stride or (max(1, window[0] * 2 // 3), max(1, window[1] * 2 // 3))
    counts = images.new_zeros(1, 1, height, width)
    total: Tensor | None = None
    for top in window_starts(height, window[0], stride[0]):
        for left in window_starts(width, window[1], stride[1]):
            place = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            output = model(images[place])
            part = output.enlarged(output.logits, window)
            total = part.new_zeros(*part.shape[:2], height, width) if total is None else total
            total[place] += part
            counts[place] += 1
    assert total is not None  # `window_starts` is never empty
    return total / counts, False  # pixels are cells
