"""How equal an exported network is to the run's: largest difference of logits, and share of equal classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MOST, LEAST = 1e-3, 0.999
"""The largest relative difference of logits, and the smallest share of equal classes, of what counts as equal."""

Run = Callable[[np.ndarray], np.ndarray]
"""Images float32 [B,3,H,W] -> logits float32 [B,C,H,W]."""
Shape = tuple[int, int, int]
"""Images in a batch, height, width."""


@dataclass(frozen=True)
class Equality:
    """What was measured at some sizes, on made-up images."""

    shapes: tuple[Shape, ...]
    difference: float
    """Largest absolute difference of logits."""
    relative: float
    """The same over the largest absolute logit."""
    agreement: float
    """Share of pixels 0..1 of the same class."""

    @property
    def good(self) -> bool:
        return self.relative <= MOST and self.agreement >= LEAST

    def to_json(self) -> dict[str, Any]:
        return {
            "shapes": [list(shape) for shape in self.shapes],
            "largest_difference_of_logits": self.difference,
            "relative_to_largest_logit": self.relative,
            "share_of_equal_classes": self.agreement,
        }


def images(shape: Shape) -> torch.Tensor:
    """float32 [B,3,H,W], 0..1: soft blobs with some noise, the same every time."""
    random = torch.Generator().manual_seed(sum(shape))
    blobs = F.interpolate(torch.rand(shape[0], 3, 6, 12, generator=random), size=shape[1:], mode="bicubic")
    return (blobs + 0.05 * torch.randn(shape[0], 3, *shape[1:], generator=random)).clamp(0, 1)


@torch.inference_mode()
def measured(network: nn.Module, run: Run, shapes: Sequence[Shape]) -> Equality:
    """Compare `run` with the network on the CPU. Raises whatever `run` raises for a size that it cannot take."""
    differences, largest, equal, pixels = [0.0], 0.0, 0, 0
    for shape in shapes:
        batch = images(shape)
        expected, found = network(batch).numpy(), run(batch.numpy())
        fits = expected.shape == found.shape
        differences.append(float(np.abs(expected - found).max()) if fits else np.inf)
        equal += int((expected.argmax(1) == found.argmax(1)).sum()) if fits else 0
        largest = max(largest, float(np.abs(expected).max()))
        pixels += expected[:, 0].size
    difference = float(np.max(differences))  # NaN stays NaN, and is not good
    return Equality(tuple(shapes), difference, difference / max(largest, 1e-30), equal / max(1, pixels))
