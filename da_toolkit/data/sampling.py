"""Which images a batch is made of: endless places in an order that any step can be found in."""

from collections.abc import Iterator

import numpy as np

Place = tuple[int, ...]
"""(epoch, index): which image, and which of its random versions; a third number is the class that it is there for."""


class EpochSampler:
    """Batches of places: each epoch is a permutation drawn from (seed, epoch); batches run across epochs.

    With `world` ranks, a step's `world * batch_size` places are dealt in turn, so that two ranks see what one
    process with twice the batch sees.

    Args:
        start: places that all ranks together have taken before; the next one comes first.
    """

    def __init__(self, length: int, batch_size: int, seed: int, start: int = 0, rank: int = 0, world: int = 1) -> None:
        self.length, self.batch_size, self.seed, self.start = length, batch_size, seed, start
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[list[Place]]:
        whole = self.batch_size * self.world
        position = self.start
        epoch = -1
        while True:
            batch: list[Place] = []
            for offset in range(position, position + whole):
                if offset // self.length != epoch:
                    epoch = offset // self.length
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
                batch.append((epoch, int(order[offset % self.length])))
            yield batch[self.rank :: self.world]
            position += whole
