"""From images to class decisions at full resolution: one view, flips and scales, or a sliding window."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.models.segmenter import Segmenter


@dataclass(frozen=True)
class Evaluation:
    """How and how often a network is scored."""

    every: int = 0
    """Steps between evaluations while training; 0 = only at the end."""
    size: tuple[int, int] | None = None
    """Height and width that images are brought to before the network; by default the target's size."""
    flip: bool = False
    """Average with the mirrored image's probabilities."""
    scales: tuple[float, ...] = (1.0,)
    """Average the probabilities over these zooms of `size`."""
    window: tuple[int, int] | None = None
    """Height and width of a sliding window; by default the whole image at once."""
    stride: tuple[int, int] | None = None
    """Step of the window; by default two thirds of it."""
    batch_size: int = 4
    images: int | None = None
    """Score only the first images; by default all."""

    def __post_init__(self) -> None:
        if self.every < 0 or self.batch_size < 1 or (self.images is not None and self.images < 1):
            raise UserError("evaluation: `every` is 0 or more, `batch_size` and `images` at least 1.")
        if not self.scales or min(self.scales) <= 0:
            raise UserError(f"evaluation.scales are positive zooms such as 0.75 1.0 1.25, got {self.scales}.")
        for name in ("size", "window", "stride"):
            value = getattr(self, name)
            if value is not None and min(value) < 1:
                raise UserError(f"evaluation.{name} is (height, width) in pixels, got {value}.")
        if self.stride is not None and self.window is None:
            raise UserError("evaluation.stride needs evaluation.window: set the window's height and width too.")
        if self.stride and self.window and (self.stride[0] > self.window[0] or self.stride[1] > self.window[1]):
            raise UserError(
                f"evaluation.stride {self.stride} is larger than the window {self.window}: it would skip pixels."
            )


def predict(model: Segmenter, images: Tensor, settings: Evaluation, out: tuple[int, int]) -> Tensor:
    """Classes int64 [B,*out] of images [B,3,H,W] (float RGB 0..1): the argmax at resolution `out`."""
    if settings.scales == (1.0,) and not settings.flip:
        return _logits(model, images, settings, out).argmax(1)
    return predict_probabilities(model, images, settings, out).argmax(1)


def predict_probabilities(model: Segmenter, images: Tensor, settings: Evaluation, out: tuple[int, int]) -> Tensor:
    """Mean class probabilities float32 [B,C,*out] over all scales and flips."""
    views = list(_views(images, settings))
    total: Tensor | None = None
    for view, flipped in views:
        probabilities = _logits(model, view, settings, out).softmax(1)
        probabilities = probabilities.flip(3) if flipped else probabilities
        total = probabilities if total is None else total + probabilities
    assert total is not None
    return total / len(views)


def _views(images: Tensor, settings: Evaluation) -> Iterator[tuple[Tensor, bool]]:
    for scale in settings.scales:
        size = [round(side * scale) for side in images.shape[2:]]
        view = images if scale == 1 else F.interpolate(images, size=size, mode="bilinear", antialias=scale < 1)
        yield view, False
        if settings.flip:
            yield view.flip(3), True


def _logits(model: Segmenter, images: Tensor, settings: Evaluation, out: tuple[int, int]) -> Tensor:
    """float32 [B,C,*out] logits; windows are averaged where they overlap."""
    if settings.window is None:
        return F.interpolate(model(images).logits.float(), size=out, mode="bilinear")
    size = images.shape[2:]
    window = [min(side, limit) for side, limit in zip(settings.window, size, strict=True)]
    stride = settings.stride or tuple(max(1, side * 2 // 3) for side in window)
    total = counts = None
    for top in _starts(size[0], window[0], stride[0]):
        for left in _starts(size[1], window[1], stride[1]):
            place = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            part = F.interpolate(model(images[place]).logits.float(), size=window, mode="bilinear")
            if total is None or counts is None:
                total = part.new_zeros(*part.shape[:2], *size)
                counts = part.new_zeros(1, 1, *size)
            total[place] += part
            counts[place] += 1
    assert total is not None and counts is not None
    return F.interpolate(total / counts, size=out, mode="bilinear")


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Offsets that cover `length`; the last window ends at the border."""
    return sorted({*range(0, length - window, stride), length - window})
