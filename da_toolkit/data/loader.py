"""Infinite seeded batches of one domain, resumable at any step without replaying the ones before."""

import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from da_toolkit.data.batch import Batch
from da_toolkit.data.domain import DomainData
from da_toolkit.data.transforms import Augmentation, augment, resized

_TRIES = 10
Place = tuple[int, ...]
"""(epoch, index): which image, and which of its random versions; a third number is the class that it is there for."""


class EpochSampler(Sampler[list[Place]]):
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


Sample = tuple[np.ndarray, np.ndarray | None, int, np.ndarray | None]
"""Image, label, index, regions."""


class Samples(Dataset):
    """Augmented samples of a domain; labels are read only where `with_labels` says so.

    Args:
        regions: gives the region map int32 of an image uint8 [H,W,3], at any resolution; none = no regions.
        least: share 0..1 of a sample's pixels that its place's class should have; up to 10 versions are tried.
    """

    def __init__(
        self,
        data: DomainData,
        size: tuple[int, int],
        augmentation: Augmentation,
        with_labels: bool,
        seed: int,
        regions: Callable[[np.ndarray], np.ndarray] | None = None,
        least: float = 0.0,
    ) -> None:
        self.data, self.size, self.with_labels, self.seed, self.regions = data, size, with_labels, seed, regions
        self.least = least
        self.pipeline = augmentation.build(size)

    def __getitem__(self, place: Place) -> Sample:
        epoch, index, *wanted = place
        image, label, regions = self.data.image(index), None, None
        if self.with_labels:
            label = self.data.label(index)
        if self.regions is not None:
            regions = _nearest(self.regions(image), self.size)
            image, label = resized(image, self.size), None if label is None else _nearest(label, self.size)
        seeds = np.random.SeedSequence((self.seed, index, epoch)).generate_state(_TRIES if wanted else 1)
        for seed in seeds.tolist():
            moved = augment(self.pipeline, image, label, seed, regions)
            if not wanted or moved[1] is None or (moved[1] == wanted[0]).mean() >= self.least:
                break
        return moved[0], moved[1], index, moved[2]


def _nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST)


def collate(samples: list[Sample]) -> Batch:
    """uint8 images [B,3,H,W] and labels [B,H,W]: a quarter of the bytes that floats would carry."""
    images, labels, indices, regions = zip(*samples, strict=True)
    image = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return Batch(image, _stacked(labels), torch.tensor(indices), _stacked(regions))


def _stacked(maps: tuple[np.ndarray | None, ...]) -> torch.Tensor | None:
    known = [values for values in maps if values is not None]
    return torch.from_numpy(np.stack(known)) if known else None


def load_batches(samples: Samples, places: Iterable[list[Place]], workers: int) -> Iterator[Batch]:
    """The batches at `places`, in order, from worker processes that hold no random state of their own."""
    loader = DataLoader(
        samples,
        batch_sampler=cast(Any, places),
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_start_worker if workers else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # or the loader would draw from the one that dropout uses
    )
    return iter(loader)


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # sent to all processes of a run; its main one stops
        signal.signal(number, signal.SIG_IGN)
