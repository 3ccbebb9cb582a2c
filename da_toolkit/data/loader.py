"""Batches from worker processes that are watched: the file at which one died or hangs is named."""

import atexit
import re
import signal
import sys
import weakref
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, cast

import cv2
import torch
from torch.utils.data import DataLoader

from da_toolkit.data.batch import Batch
from da_toolkit.data.samples import Samples, collate
from da_toolkit.data.sampling import Place
from da_toolkit.errors import UserError


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
        loader = iter(
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
        self.pids = {worker.pid for worker in getattr(loader, "_workers", ())}
        self.loader: Iterator[Batch] | None = loader

    def __next__(self) -> Batch:
        """Raises `UserError` that names the file at which a worker died or hangs; after an error no batch follows."""
        if self.loader is None:
            raise StopIteration
        try:
            return self._next(self.loader)
        except Exception:
            self.close()
            raise

    def _next(self, loader: Iterator[Batch]) -> Batch:
        try:
            return next(loader)
        except UserError as error:
            raise _plain(error) from None
        except RuntimeError as error:
            if "timed out" in str(error):
                raise self.failure(f"gave nothing for {self.patience:.0f} s") from error
            raise explained(error) or error from error

    def close(self) -> None:
        """End the workers. They ignore signals, so one that is left to the end of the process would hold it up.

        torch ends them when the iterator is forgotten, but the frames of an error that is being told remember it.
        """
        end = getattr(self.loader, "_shutdown_workers", None)
        self.loader = None
        if end is not None:
            end()

    def failure(self, what: str) -> UserError:
        """The error of a worker that `what`, with the files that were being read."""
        data, reading = self.samples.data, self.samples.reading
        files = [] if reading is None else [data.key(index) for index in reading.tolist() if index >= 0]
        at = ", ".join(files) or "none"
        return UserError(
            f"A loader process of {data.name} {data.split} {what}; files being read: {at}. Look at these files with "
            "`python -m da_toolkit.prepare check RECIPE`; if they are well, memory or shared memory may have run out: "
            f"try fewer --workers (now {self.workers}), or 0."
        )


_open: weakref.WeakSet[Loading] = weakref.WeakSet()


def explained(error: RuntimeError) -> UserError | None:
    """The error of a worker that died, with its file; none for any other error.

    torch raises such an error wherever the main process happens to be, and tells the worker's number alone.
    """
    if "DataLoader worker" not in str(error):
        return None
    dead = {int(number) for number in re.findall(r"\d+", str(error))}
    return next((loading.failure("died") for loading in list(_open) if dead & loading.pids), None)


@atexit.register  # runs before multiprocessing waits for its children
def _close_all() -> None:
    for loading in list(_open):
        loading.close()


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
