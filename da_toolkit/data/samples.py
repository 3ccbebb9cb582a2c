"""One augmented image with label and regions, and batches made of them; every random choice derives from its place."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from da_toolkit import own_code
from da_toolkit.data.batch import Batch, Fault
from da_toolkit.data.domain import DomainData
from da_toolkit.data.sampling import Place
from da_toolkit.data.shared_memory import stored
from da_toolkit.data.transforms import Augmentation, augment, resized, resized_label
from da_toolkit.errors import UserError

if TYPE_CHECKING:
    from da_toolkit.data.frame_cache import Frames
    from da_toolkit.data.superpixels import SuperpixelCache

_TRIES = 10


@dataclass(frozen=True)
class Sample:
    """One image on its way into a batch."""

    image: np.ndarray
    label: np.ndarray | None
    index: int
    regions: np.ndarray | None
    faults: tuple[Fault, ...] = ()
    """Images that stood at this place and could not be used."""


class Samples(Dataset):
    """Augmented samples of a domain; labels are read only where `with_labels` says so.

    Args:
        regions: gives the region map int32 of an image uint8 [H,W,3], at any resolution; none = no regions.
        keys: the key of every image in `regions` as it was when frozen knowledge was made of it; none = not checked.
        least: share 0..1 of a sample's pixels that its place's class should have; up to 10 versions are tried.
        frames: images and labels at `size`, as a cache keeps them; by default they are read from the data's files.
    """

    def __init__(
        self,
        data: DomainData,
        size: tuple[int, int],
        augmentation: Augmentation,
        with_labels: bool,
        seed: int,
        regions: "SuperpixelCache | None" = None,
        least: float = 0.0,
        keys: Sequence[str] | None = None,
        frames: "Frames | None" = None,
    ) -> None:
        self.data, self.size, self.with_labels, self.seed, self.regions = data, size, with_labels, seed, regions
        self.least, self.keys = least, keys
        self.frames: Frames | DomainData = frames or data
        self.shape = augmentation.crop or size
        """Height and width of a sample."""
        self.pipeline = augmentation.build(size)
        self.reading: torch.Tensor | None = None  # by worker, the index that it is at, or -1

    def __getitem__(self, place: Place) -> Sample:
        """Where an image cannot be used the next one that can takes its place. Raises `UserError` after ten."""
        epoch, index, *wanted = place
        faults: list[Fault] = []
        while True:
            self._mark(index)
            try:
                found = self._sample(epoch, index, wanted)
            except UserError as error:
                faults.append((index, str(error)))
                if len(faults) == min(_TRIES, len(self.data)):
                    raise
                index = (index + 1) % len(self.data)
            except Exception as error:
                if (what := own_code.told(error)) is None:
                    raise
                raise UserError(what) from error  # here, since an error leaves a worker process without its frames
            else:
                self._mark(-1)
                return replace(found, faults=tuple(faults))

    def batch_bytes(self, count: int) -> int:
        """Of a batch of so many samples in shared memory."""
        pixels = count * self.shape[0] * self.shape[1]
        return stored(3 * pixels, pixels * self.with_labels, 4 * pixels * (self.regions is not None), 8 * count)

    def _mark(self, index: int) -> None:
        worker = get_worker_info()
        if worker is not None and self.reading is not None:
            self.reading[worker.id] = index

    def _sample(self, epoch: int, index: int, wanted: list[int]) -> Sample:
        image, label, regions = self.frames.image(index), None, None
        if self.with_labels:
            label = self.frames.label(index)
        if self.regions is not None:
            key, regions = self.regions.keyed(image)
            if self.keys is not None and key != self.keys[index]:
                raise UserError(
                    f"{self.data.name} {self.data.split}: the file of {self.data.key(index)} was replaced during the "
                    "run, and what the run knows of its regions is of the old one. Restore it, or start anew with "
                    "--overwrite."
                )
            regions = resized_label(regions, self.size)
            image, label = resized(image, self.size), None if label is None else resized_label(label, self.size)
        seeds = np.random.SeedSequence((self.seed, index, epoch)).generate_state(_TRIES if wanted else 1)
        for seed in seeds.tolist():
            moved = augment(self.pipeline, image, label, seed, regions)
            if not wanted or moved[1] is None or (moved[1] == wanted[0]).mean() >= self.least:
                break
        return Sample(moved[0], moved[1], index, moved[2])


def collate(samples: list[Sample]) -> Batch:
    """uint8 images [B,3,H,W] and labels [B,H,W]: a quarter of the bytes that floats would carry."""
    image = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    label, regions = _stacked([s.label for s in samples]), _stacked([s.regions for s in samples])
    indices = torch.tensor([sample.index for sample in samples])
    return Batch(image, label, indices, regions, tuple(fault for sample in samples for fault in sample.faults))


def _stacked(maps: list[np.ndarray | None]) -> torch.Tensor | None:
    known = [values for values in maps if values is not None]
    return torch.from_numpy(np.stack(known)) if known else None
