"""Infinite seeded batches of one domain, resumable at any step without replaying the ones before."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from da_toolkit.data.batch import Batch
from da_toolkit.data.domain import DomainData
from da_toolkit.data.transforms import Augmentation, augment

Place = tuple[int, int]
"""(epoch, index): which image, and which of its random versions."""


class EpochSampler(Sampler[list[Place]]):
    """Batches of places: each epoch is a permutation drawn from (seed, epoch); batches run across epochs.

    With `world` ranks, a step's `world * batch_size` places are dealt in turn, so that two ranks see what one
    process with twice the batch sees.
    """

    def __init__(self, length: int, batch_size: int, seed: int, start: int = 0, rank: int = 0, world: int = 1) -> None:
        self.length, self.batch_size, self.seed, self.start = length, batch_size, seed, start
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[list[Place]]:
        whole = self.batch_size * self.world
        position = self.start * whole
        epoch = -1
        while True:
            batch = []
            for offset in range(position, position + whole):
                if offset // self.length != epoch:
                    epoch = offset // self.length
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
                batch.append((epoch, int(order[offset % self.length])))
            yield batch[self.rank :: self.world]
            position += whole


class Samples(Dataset):
    """Augmented (image, label, index) of a domain; labels are read only where `with_labels` says so."""

    def __init__(
        self,
        data: DomainData,
        size: tuple[int, int],
        augmentation: Augmentation,
        with_labels: bool,
        seed: int,
    ) -> None:
        self.data, self.with_labels, self.seed = data, with_labels, seed
        self.pipeline = augmentation.build(size)

    def __getitem__(self, place: Place) -> tuple[np.ndarray, np.ndarray | None, int]:
        epoch, index = place
        label = self.data.label(index) if self.with_labels else None
        seed = int(np.random.SeedSequence((self.seed, index, epoch)).generate_state(1)[0])
        image, label = augment(self.pipeline, self.data.image(index), label, seed)
        return image, label, index


def collate(samples: list[tuple[np.ndarray, np.ndarray | None, int]]) -> Batch:
    """uint8 images [B,3,H,W] and labels [B,H,W]: a quarter of the bytes that floats would carry."""
    images, labels, indices = zip(*samples, strict=True)
    image = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    label = None if labels[0] is None else torch.from_numpy(np.stack(labels))
    return Batch(image, label, torch.tensor(indices))


def endless_batches(samples: Samples, sampler: EpochSampler, workers: int) -> Iterator[Batch]:
    """Batches for ever, from worker processes that hold no random state of their own."""
    loader = DataLoader(
        samples,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_one_thread if workers else None,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
    )
    return iter(loader)


def _one_thread(_: int) -> None:
    import cv2

    cv2.setNumThreads(0)
