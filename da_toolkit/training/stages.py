"""Stages of a schedule, and what a term is told when one begins."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import nn

from da_toolkit.data.batch import Batch
from da_toolkit.errors import UserError


@dataclass(frozen=True)
class Stage:
    """A stretch of training between two refreshes of frozen knowledge."""

    name: str
    steps: int
    """Optimiser steps of this stage."""
    round: int = 0
    """0 = warm-up (no frozen knowledge yet), then 1, 2, ... for alternating refresh-and-train rounds."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"schedule: stage {self.name!r} needs at least 1 step, got {self.steps}.")


def rounds(count: int, steps: int) -> tuple[Stage, ...]:
    """`count` alternating rounds of `steps` each, named "round 1", "round 2", ..."""
    return tuple(Stage(f"round {number}", steps, number) for number in range(1, count + 1))


@dataclass(frozen=True)
class StageContext:
    """What terms may use to rebuild frozen knowledge."""

    stage: Stage
    model: nn.Module
    target_pass: Callable[[], Iterator[Batch]]
    """One pass over the target training images, on the device, without augmentation or labels."""
    labels: Callable[[Literal["source", "target"]], Iterator[np.ndarray]]
    """A domain's training labels, uint8 [H,W] at their own resolution, in an order drawn from the seed.
    Raises RuntimeError where the method's `reads` does not name them."""
