"""Infinite seeded batches of one domain, resumable at any step without replaying the ones before."""

import atexit
import signal
import sys
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from da_toolkit.data.batch import Batch, Fault
from da_toolkit.data.domain import DomainData
from da_toolkit.data.transforms import Augmentation, augment, resized
from da_toolkit.errors import UserError

if TYPE_CHECKING:
    from da_toolkit.regularizers.rpt.superpixels import SuperpixelCache

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
    ) -> None:
        self.data, self.size, self.with_labels, self.seed, self.regions = data, size, with_labels, seed, regions
        self.least, self.keys = least, keys
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
            else:
                self._mark(-1)
                return replace(found, faults=tuple(faults))

    def _mark(self, index: int) -> None:
        worker = get_worker_info()
        if worker is not None and self.reading is not None:
            self.reading[worker.id] = index

    def _sample(self, epoch: int, index: int, wanted: list[int]) -> Sample:
        image, label, regions = self.data.image(index), None, None
        if self.with_labels:
            label = self.data.label(index)
        if self.regions is not None:
            key, regions = self.regions.keyed(image)
            if self.keys is not None and key != self.keys[index]:
                raise UserError(
                    f"{self.data.name} {self.data.split}: the file of {self.data.key(index)} was replaced during the "
                    "run, and what the run knows of its regions is of the old one. Restore it, or start anew with "
                    "--overwrite."
                )
            regions = _nearest(regions, self.size)
            image, label = resized(image, self.size), None if label is None else _nearest(label, self.size)
        seeds = np.random.SeedSequence((self.seed, index, epoch)).generate_state(_TRIES if wanted else 1)
        for seed in seeds.tolist():
            moved = augment(self.pipeline, image, label, seed, regions)
            if not wanted or moved[1] is None or (moved[1] == wanted[0]).mean() >= self.least:
                break
        return Sample(moved[0], moved[1], index, moved[2])


def _nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST)


def collate(samples: list[Sample]) -> Batch:
    """uint8 images [B,3,H,W] and labels [B,H,W]: a quarter of the bytes that floats would carry."""
    image = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    label, regions = _stacked([s.label for s in samples]), _stacked([s.regions for s in samples])
    indices = torch.tensor([sample.index for sample in samples])
    return Batch(image, label, indices, regions, tuple(fault for sample in samples for fault in sample.faults))


def _stacked(maps: list[np.ndarray | None]) -> torch.Tensor | None:
    known = [values for values in maps if values is not None]
    return torch.from_numpy(np.stack(known)) if known else None


class Loading(Iterator[Batch]):
    """The batches at `places`, in order, from worker processes that hold no random state of their own.

    Args:
        workers: processes; 0 loads in this one.
        patience: seconds that the workers may take for a batch.
    """

    def __init__(self, samples: Samples, places: Iterable[list[Place]], workers: int, patience: float = 600) -> None:
        self.samples, self.workers, self.patience = samples, workers, patience
        _open.add(self)
        if workers:
            samples.reading = torch.full((workers,), -1).share_memory_()
        self.loader: Iterator[Batch] | None = iter(
            DataLoader(
                samples,
                batch_sampler=cast(Any, places),
                num_workers=workers,
                collate_fn=collate,
                worker_init_fn=_start_worker if workers else None,
                pin_memory=torch.cuda.is_available(),
                generator=torch.Generator(),  # or the loader would draw from the one that dropout uses
                timeout=patience if workers else 0,
            )
        )

    def __next__(self) -> Batch:
        """Raises `UserError` that names the file at which a worker died or hangs."""
        if self.loader is None:
            raise StopIteration
        try:
            return next(self.loader)
        except UserError as error:
            raise _plain(error) from None
        except RuntimeError as error:
            raise self.explained(error) or error from error

    def close(self) -> None:
        """End the workers. They ignore signals, so one that is left to the end of the process would hold it up.

        torch ends them when the iterator is forgotten, but the frames of an error that is being told remember it.
        """
        end = getattr(self.loader, "_shutdown_workers", None)
        self.loader = None
        if end is not None:
            end()

    def explained(self, error: RuntimeError) -> UserError | None:
        """The error of a worker that died or hangs, with its file; none for any other error.

        torch raises such an error wherever the main process happens to be.
        """
        text = str(error)
        if "DataLoader" not in text or self.samples.reading is None:
            return None
        data = self.samples.data
        at = ", ".join(data.key(index) for index in self.samples.reading.tolist() if index >= 0) or "none"
        what = f"gave nothing for {self.patience:.0f} s" if "timed out" in text else "died"
        return UserError(
            f"A loader process of {data.name} {data.split} {what}; files being read: {at}. Look at these files with "
            "`python -m da_toolkit.prepare check RECIPE`; if they are well, memory or shared memory may have run out: "
            f"try fewer --workers (now {self.workers}), or 0."
        )


_open: weakref.WeakSet[Loading] = weakref.WeakSet()


@atexit.register  # runs before multiprocessing waits for its children
def _close_all() -> None:
    for loading in list(_open):
        loading.close()


def load_batches(samples: Samples, places: Iterable[list[Place]], workers: int, patience: float = 600) -> Loading:
    """`Loading`, ready to be iterated."""
    return Loading(samples, places, workers, patience)


def _plain(error: UserError) -> UserError:
    """Without the worker's traceback that torch puts in front of the message."""
    return UserError(str(error).split("UserError: ")[-1].strip())


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # sent to all processes of a run; its main one stops
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = _tell_unless_left_alone


def _tell_unless_left_alone(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A thread that hands out shared memory fails when the run is killed while it asks for some; nobody need know."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)
