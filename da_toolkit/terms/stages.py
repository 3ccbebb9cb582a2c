"""What a term is told when a stage begins, and may use to rebuild its frozen knowledge."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import nn

from da_toolkit.data.batch import Batch
from da_toolkit.settings.schedule import Stage
from da_toolkit.terms.step import View

Watcher = tuple[Callable[[View], None], Callable[[], None]]


@dataclass(frozen=True)
class RegionIndex:
    """Which regions the target images have."""

    counts: list[int]
    """Regions of each image."""
    keys: list[str]
    """A hash of each image and of how its regions were made."""


@dataclass(frozen=True)
class StageContext:
    """What terms may use to rebuild frozen knowledge."""

    stage: Stage
    model: nn.Module
    target_pass: Callable[..., Iterator[Batch]]
    """One pass over the target training images, on the device, without augmentation or labels, at the resolution at
    which the network is scored; with regions where a regularizer reads them. Every rank gets all images, and so finds
    the same, but no faster. With `shared=True` the batches are dealt to the ranks in turn, and what they find must be
    combined (`ranks.parallel`)."""
    labels: Callable[[Literal["source", "target"]], Iterator[np.ndarray]]
    """A domain's training labels, uint8 train ids at training size [H,W], in an order drawn from the seed.
    Raises `UserError` where the method's `reads` does not name them."""
    regions: RegionIndex | None = None
    """The target's regions, where a regularizer reads them."""
    images: int = 0
    """Target training images."""
    size: tuple[int, int] = (0, 0)
    """Height and width of the target pass's images."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    seed: int = 0
    watchers: list[Watcher] = field(default_factory=list)

    def watch_target(self, see: Callable[[View], None], done: Callable[[], None]) -> None:
        """Take part in the stage's one shared pass of the network over the target images.

        With several processes each one sees its share of the batches, dealt in turn, and `done` must combine what the
        ranks saw (`ranks.parallel`: `sum_over_ranks`, `gathered_in_turn`).

        Args:
            see: given each batch's view, without gradients, in `eval` mode and the run's precision.
            done: called after the last one, on every rank, in the same order of terms.
        """
        self.watchers.append((see, done))
