"""Rare class sampling: source images are drawn so that rare classes come as often as common ones."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from da_toolkit.data.domain import DomainData
from da_toolkit.data.sampling import Place
from da_toolkit.errors import UserError
from da_toolkit.terminal import track
from da_toolkit.waiting import abandonable


@dataclass(frozen=True)
class RareClasses:
    """Draw a class first, then a source image that has it (DAFormer; Hoyer et al., CVPR 2022, eq. 8 and 9)."""

    temperature: float = 0.01
    """Class c is drawn with probability proportional to exp((1 - its frequency) / temperature)."""
    least: float = 0.003
    """An image has a class if this share 0..1 of its pixels is of it (DAFormer: 3,000 pixels of 1914 x 1052)."""
    least_of_crop: float | None = None
    """Crops are tried up to 10 times until this share 0..1 of their pixels is of the class (DAFormer: 1,500 of
    512 x 512); by default `least`."""

    def __post_init__(self) -> None:
        shares = (self.least, self.crop_share)
        if self.temperature <= 0 or not all(0 <= share <= 1 for share in shares):
            raise UserError("rare_classes: temperature must be positive, and least and least_of_crop lie in 0..1.")

    @property
    def crop_share(self) -> float:
        """Share 0..1 of its class that a crop should have."""
        return self.least if self.least_of_crop is None else self.least_of_crop

    def probabilities(self, shares: np.ndarray) -> np.ndarray:
        """[C] of shares [N,C]; classes that no image has are never drawn. Raises `UserError` if that is all."""
        there = (shares >= max(self.least, 1e-12)).any(0)
        if not there.any():
            raise UserError(f"rare_classes.least={self.least}: no source image has that share of any class; lower it.")
        frequency = shares.mean(0) / max(shares.mean(0).sum(), 1e-12)
        scores = np.where(there, (1 - frequency) / self.temperature, -np.inf)
        weights = np.exp(scores - scores.max())
        return weights / weights.sum()


def image_class_shares(data: DomainData) -> np.ndarray:
    """float32 [N,C]: the share of each image's pixels that are of each class. Reads every label; may be abandoned."""
    classes = len(data.label_space)
    pool = ThreadPoolExecutor()  # image libraries read without Python's lock
    try:
        with abandonable():
            found = pool.map(partial(_shares, data, classes), range(len(data)))
            return np.stack(list(track(found, f"classes of {data.name} {data.split}", len(data))))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _shares(data: DomainData, classes: int, index: int) -> np.ndarray:
    label = data.label(index)
    counts = np.bincount(label.ravel(), minlength=256)[:classes]
    return (counts / label.size).astype(np.float32)


class RareClassSampler:
    """Endless batches of places (draw, index, class). Draw n depends on (seed, n) alone, so nothing is replayed.

    Ranks are dealt places, and `start` counts them, as in `EpochSampler`.
    """

    def __init__(
        self,
        settings: RareClasses,
        shares: np.ndarray,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.probabilities = settings.probabilities(shares)
        self.images = [np.flatnonzero(column >= max(settings.least, 1e-12)) for column in shares.T]
        self.batch_size, self.seed, self.start, self.rank, self.world = batch_size, seed, start, rank, world

    def __iter__(self) -> Iterator[list[Place]]:
        whole = self.batch_size * self.world
        position = self.start
        while True:
            yield [self._place(draw) for draw in range(position, position + whole)][self.rank :: self.world]
            position += whole

    def _place(self, draw: int) -> Place:
        random = np.random.default_rng((self.seed, draw))
        wanted = int(random.choice(len(self.probabilities), p=self.probabilities))
        return draw, int(random.choice(self.images[wanted])), wanted
