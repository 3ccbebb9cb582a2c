"""Optimiser settings and learning-rate schedules."""

import math
from dataclasses import dataclass
from typing import Literal

from da_toolkit.errors import UserError


@dataclass(frozen=True)
class Optimizer:
    """Settings shared by the optimisers of the segmentation network."""

    lr: float = 2.5e-4
    """Learning rate of the backbone."""
    head_multiplier: float = 10.0
    """The heads learn at lr times this."""
    weight_decay: float = 5e-4
    clip: float | None = None
    """Largest gradient norm, or none."""
    layer_decay: float = 1.0
    """Of a plain vision transformer of n blocks, layer k (0 the embeddings, 1..n the blocks) learns at lr times this to
    the power n - k, so that what is learnt early changes least; 1 = off."""

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise UserError(f"optimizer.lr must be positive, got {self.lr}.")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"optimizer.layer_decay is above 0 and at most 1 (1 = off), got {self.layer_decay}.")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum; defaults are AdaptSegNet's."""

    momentum: float = 0.9
    repeats: Literal["once", "as_published"] = "once"
    """Updates of each backbone parameter a step: "once", or "as_published", as often as the optimisers of AdaptSegNet,
    ADVENT, DACS, FDA, CRST, MaxSquare and ProDA hold it: 3 times in a residual block, 4 in its downsampling path, once
    in the stem, as the heads."""


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay; defaults are DAFormer's."""

    lr: float = 6e-5
    weight_decay: float = 0.01
    decay_norms: bool = True
    """Scales and shifts of the backbone's norm layers decay too; in DAFormer's training they do not."""


@dataclass(frozen=True)
class LearningRate:
    """How every learning rate of a run, discriminators' included, moves with the steps."""

    shape: Literal["poly", "cosine", "constant"] = "poly"
    power: float = 0.9
    """Exponent of the poly shape."""
    warmup: int = 0
    """Steps of linear warm-up from 0."""
    counted_from: Literal["warmup", "start"] = "warmup"
    """Where the shape begins: at the warm-up's end, or at the run's start, so that the warm-up is a factor on it and
    ends on its line (DAFormer: 0.9625 after 1,500 of 40,000 steps)."""
    horizon: int | None = None
    """Step at which the rate reaches 0; by default the run's end. Published runs often stop before it."""

    def multiplier(self, step: int, total: int) -> float:
        """Factor 0..1 on the base rate before optimiser step `step` (0-based) of `total`."""
        begin = self.warmup if self.counted_from == "warmup" else 0
        ramp = (step + 1) / self.warmup if step < self.warmup else 1.0
        return ramp * self._shape(max(0, step - begin) / max(1, (self.horizon or total) - begin))

    def _shape(self, progress: float) -> float:
        """The factor at `progress`, 0..1 (above: as at 1), from where the shape begins."""
        progress = min(1.0, progress)
        if self.shape == "poly":
            return (1 - progress) ** self.power
        if self.shape == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        return 1.0
