"""Batches from worker processes that are watched: the file at which one died or hangs is named."""

import atexit
import multiprocessing.queues
import os
import re
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, cast

import cv2
import torch
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader
from torch.utils.data._utils.signal_handling import _remove_worker_pids

from da_toolkit.data.batch import Batch
from da_toolkit.data.samples import Samples, collate
from da_toolkit.data.sampling import Place
from da_toolkit.data.shared_memory import PREFETCHED, REMEDY, handing_over
from da_toolkit.errors import UserError
from da_toolkit.waiting import abandonable, whole
from da_toolkit.workers import keep_memory, kill, start_worker

_LOOK = 5.0  # seconds after which a wait is begun anew, to see whether all that it waits for still lives
_GRACE = 0.5  # seconds that a worker may take to end, before it is killed: one that hangs would never


class Loading(Iterator[Batch]):
    """The batches at `places`, in order, from worker processes that hold no random state of their own.

    Args:
        workers: processes; 0 loads in this one.
        patience: seconds that the workers may take for a batch.
    """

    def __init__(self, samples: Samples, places: Iterable[list[Place]], workers: int, patience: float = 600) -> None:
        self.samples, self.workers, self.patience = samples, workers, patience
        self.loader: Iterator[Batch] | None = None
        _open.add(self)
        with whole():
            try:
                self.loader = self._start(places)
            except (OSError, RuntimeError, MemoryError) as error:
                raise self._refused(error, "start") or error from error
        self.pids = {worker.pid for worker in getattr(self.loader, "_workers", ())}

    def _start(self, places: Iterable[list[Place]]) -> Iterator[Batch]:
        workers = self.workers
        if workers:
            self.samples.reading = torch.full((workers,), -1).share_memory_()
        return iter(
            DataLoader(
                self.samples,
                batch_sampler=cast(Any, places),
                num_workers=workers,
                collate_fn=collate,
                worker_init_fn=_start_worker if workers else None,
                prefetch_factor=PREFETCHED if workers else None,
                pin_memory=torch.cuda.is_available(),
                generator=torch.Generator(),  # or the loader would draw from the one that dropout uses
                timeout=min(_LOOK, self.patience) if workers else 0,
            )
        )

    def _refused(self, error: BaseException, what: str) -> UserError | None:
        """The error of what the system did not allow this process for its workers; none for any other one."""
        why = handing_over(error) if self.workers else None
        data = self.samples.data
        return None if why is None else UserError(f"{data.name} {data.split}: loader processes cannot {what}: {why}.")

    def __next__(self) -> Batch:
        """May be abandoned. After an error no batch follows.

        Raises `UserError` that names the file at which a worker died or hangs, or what kept it from handing over.
        """
        if self.loader is None:
            raise StopIteration
        try:
            return self._next(self.loader)
        except Exception:
            self.close()
            raise

    def _next(self, loader: Iterator[Batch]) -> Batch:
        until = time.monotonic() + self.patience
        while True:
            try:
                with abandonable():
                    return next(loader)
            except UserError as error:
                raise _plain(error) from None
            except (RuntimeError, OSError, EOFError, MemoryError) as error:
                if "timed out" not in str(error):
                    raise explained(error) or self._refused(error, "hand over a batch") or error from error
                pinning = getattr(loader, "_pin_memory_thread", None)
                if pinning is not None and not pinning.is_alive():  # torch would wait for it
                    raise self.failure("could not hand over a batch, as is said above") from error
                if time.monotonic() >= until:
                    raise self.failure(f"gave nothing for {self.patience:.0f} s") from error

    def close(self) -> None:
        """End the workers. They ignore signals, so one that is left to the end of the process would hold it up.

        torch ends them when the iterator is forgotten, but the frames of an error that is being told remember it.
        """
        end = getattr(self.loader, "_shutdown_workers", None)
        killer = threading.Timer(_GRACE, _kill_workers, (self.loader,))
        self.loader = None
        if end is None:
            return
        with whole():
            killer.start()
            try:
                end()
            finally:
                killer.cancel()

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


def _kill_workers(loader: Any) -> None:
    if loader._worker_pids_set:
        _remove_worker_pids(id(loader))  # or torch would raise that they died, wherever the main thread is
        loader._worker_pids_set = False
    kill(loader._workers)


def explained(error: BaseException) -> UserError | None:
    """The error of a worker that died, with its file; none for any other error.

    torch raises such an error wherever the main process happens to be, and tells the worker's number alone.
    """
    if "DataLoader worker" not in str(error):
        return None
    dead = {int(number) for number in re.findall(r"\d+", str(error))}
    return next((loading.failure(_how_it_died(loading)) for loading in list(_open) if dead & loading.pids), None)


def _how_it_died(loading: Loading) -> str:
    codes = [worker.exitcode for worker in getattr(loading.loader, "_workers", ())]
    bus = f", for shared memory is full, or a file was cut while it was read ({REMEDY})"
    return "died" + bus * (-signal.SIGBUS in codes)


@atexit.register  # runs before multiprocessing waits for its children
def _close_all() -> None:
    for loading in list(_open):
        loading.close()


def _plain(error: UserError) -> UserError:
    """Without the worker's traceback that torch puts in front of the message."""
    return UserError(str(error).split("UserError: ")[-1].strip())


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)
    start_worker()
    keep_memory()
    sys.excepthook = _tell_unless_left_alone
    cast(Any, multiprocessing.queues.Queue)._on_queue_feeder_error = _hand_over_instead


def _tell_unless_left_alone(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A thread that hands out shared memory fails when the run is killed while it asks for some; nobody need know.

    If it fails otherwise, the main process waits for an answer that never comes, unless this one ends.
    """
    if issubclass(kind, (ConnectionError, EOFError)):
        return
    if (why := handing_over(error)) is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"A loader process cannot hand over a batch: {why}.", file=sys.stderr, flush=True)
    os._exit(1)


def _hand_over_instead(queue: Any, error: BaseException, lost: Any) -> None:
    """In the thread of a worker that could not hand over `lost`: what is said in its place, in a few bytes.

    multiprocessing only prints the error; the main process would wait for the batch as long as it has patience.
    """
    try:
        number, what = lost
        if isinstance(what, ExceptionWrapper):  # of a kind that cannot be sent
            text = f"A loader process raised what cannot be handed over ({error}): {what.exc_msg}"
        else:
            why = handing_over(error) or f"{type(error).__name__}: {error}. Mend what the domain returns."
            text = f"A loader process cannot hand over a batch: {why.rstrip('.')}."
        queue.put((number, _Said(text)))
    except Exception:  # it cannot even say so
        os._exit(1)


class _Said(ExceptionWrapper):
    """What torch's loader raises in the main process."""

    def __init__(self, text: str) -> None:
        self.text = text

    def reraise(self) -> None:
        raise UserError(self.text)
