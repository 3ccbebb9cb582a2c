"""From images to class decisions at full resolution: one view, flips and scales, or a sliding window."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.evaluation.deciding import decided
from da_toolkit.models.grid import enlarged_rows, window_starts
from da_toolkit.models.segmenter import Segmenter

BAND = 2**28
"""Bytes of an image's scores that are held at once; 19 classes of 2048x1024 pixels take 160 MB."""


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
    classes = torch.empty(len(images), *out_size, dtype=torch.int64, device=images.device)
    for place, rows, scores in score_bands(model, images, settings, [out_size] * len(images)):
        classes[place, rows] = decided(scores[None])[0]
    return classes


def predict_probabilities(model: Segmenter, images: Tensor, settings: Inference, out_size: tuple[int, int]) -> Tensor:
    """Class probabilities float32 [B,C,*out_size], 0..1, the mean over all scales and flips.

    Each view's logits are upsampled first (bilinear, with corners aligned where the network's grid is so), then turned
    into probabilities. Where windows overlap, their logits are averaged.

    Args:
        images: float RGB [B,3,H,W], 0..1, at the network's input size; the model in `eval` mode.
        out_size: the labels' (height, width).
    """
    found = images.new_empty(len(images), model.num_classes, *out_size)
    for place, rows, scores in score_bands(model, images, settings, [out_size] * len(images), True):
        found[place, :, rows] = scores
    return found


def score_bands(
    model: Segmenter,
    images: Tensor,
    settings: Inference,
    out_sizes: Sequence[tuple[int, int]],
    probabilities: bool = False,
) -> Iterator[tuple[int, slice, Tensor]]:
    """What the network thinks of each image at its own resolution: (place in the batch, rows, float32 [C,rows,W]).

    It comes in bands of rows from the top down, so that an image of any size needs no more than `BAND` bytes for its
    scores. They are logits where there is a single view, else probabilities, the mean over the views. With a window
    on images at their own resolution a band ends where the next row of windows begins, so that logits need little, too.

    Args:
        images: float RGB [B,3,H,W], 0..1, at the network's input size; the model in `eval` mode.
        out_sizes: (height, width) at which each image is decided.
        probabilities: also of a single view.
    """
    single = len(settings.scales) == 1 and not settings.flip
    for place, rows, views in _bands(model, images, settings, out_sizes):
        if single and not probabilities:
            scores = views[0][0]
        else:
            scores = _mean_of([_upright(view.softmax(0), mirrored) for view, mirrored in views])
        yield place, rows, scores


_View = tuple[Tensor, bool]  # logits [C,rows,W], and whether of the mirrored image


def _bands(
    model: Segmenter, images: Tensor, settings: Inference, out_sizes: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, slice, list[_View]]]:
    """Logits of all views, for the same band of the same image."""
    seen = list(_views(images, settings))
    if settings.window is not None and {tuple(view.shape[2:]) for view, _ in seen} == {*out_sizes}:
        streams = [_window_rows(model, view, settings) for view, _ in seen]
        for parts in zip(*streams, strict=True):
            top = parts[0][0]
            for place in range(len(images)):
                views = [(logits[place], mirrored) for (_, logits), (_, mirrored) in zip(parts, seen, strict=True)]
                yield place, slice(top, top + views[0][0].shape[1]), views
        return
    maps = [(*_logits(model, view, settings), mirrored) for view, mirrored in seen]
    for place, size in enumerate(out_sizes):
        classes = maps[0][0].shape[1]
        step = max(1, BAND // (4 * classes * size[1]))
        for top in range(0, size[0], step):
            bottom = min(top + step, size[0])
            one = slice(place, place + 1)
            views = [(enlarged_rows(m[one], size, aligned, top, bottom)[0], mirrored) for m, aligned, mirrored in maps]
            yield place, slice(top, bottom), views


def _upright(scores: Tensor, mirrored: bool) -> Tensor:
    return scores.flip(2) if mirrored else scores


def _mean_of(views: list[Tensor]) -> Tensor:
    total = views[0]
    for view in views[1:]:
        total = total.add_(view)
    return total.div_(len(views))


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
    return torch.cat([rows for _, rows in _window_rows(model, images, settings)], 2), False  # pixels are cells


def _window_rows(model: Segmenter, images: Tensor, settings: Inference) -> Iterator[tuple[int, Tensor]]:
    """(first row, logits [B,C,rows,W]) from the top down; where windows overlap, their mean.

    A band is finished, and no longer held, as soon as the next row of windows begins below it.
    """
    assert settings.window is not None
    batch, _, height, width = images.shape
    window = (min(settings.window[0], height), min(settings.window[1], width))
    stride = settings.stride or (max(1, window[0] * 2 // 3), max(1, window[1] * 2 // 3))
    tops, lefts = window_starts(height, window[0], stride[0]), window_starts(width, window[1], stride[1])
    total: Tensor | None = None
    counts = images.new_zeros(1, 1, window[0], width)
    for top, following in zip(tops, [*tops[1:], height], strict=True):
        crops = torch.cat([images[..., top : top + window[0], left : left + window[1]] for left in lefts])
        outputs = [model(part) for part in crops.split(max(batch, settings.batch_size))]
        parts = torch.cat([output.enlarged(output.logits, window) for output in outputs]).split(batch)
        total = parts[0].new_zeros(*parts[0].shape[:3], width) if total is None else total
        for left, part in zip(lefts, parts, strict=True):
            place = (..., slice(left, left + window[1]))
            total[place] += part
            counts[place] += 1
        done = following - top
        yield top, total[:, :, :done] / counts[:, :, :done]
        total, counts = (F.pad(sums[:, :, done:], (0, 0, 0, done)) for sums in (total, counts))
