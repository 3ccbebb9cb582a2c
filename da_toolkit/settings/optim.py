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

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise UserError(f"optimizer.lr must be positive, got {self.lr}.")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum; defaults are AdaptSegNet's."""

    momentum: float = 0.9


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay; defaults are DAFormer's."""

    lr: float = 6e-5
    weight_decay: float = 0.01


@dataclass(frozen=True)
class LearningRate:
    """How every learning rate of a run, discriminators' included, moves with the steps."""

    shape: Literal["poly", "cosine", "constant"] = "poly"
    power: float = 0.9
    """Exponent of the poly shape."""
    warmup: int = 0
    """Steps of linear warm-up from 0."""
    horizon: int | None = None
    """Step at which the rate reaches 0; by default the run's end. Published runs often stop before it."""

    def multiplier(self, step: int, total: int) -> float:
        """Factor 0..1 on the base rate before optimiser step `step` (0-based) of `total`."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        end = self.horizon or total
        progress = min(1.0, (step - self.warmup) / max(1, end - self.warmup))
        if self.shape == "poly":
            return (1 - progress) ** self.power
        if self.shape == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        return 1.0
