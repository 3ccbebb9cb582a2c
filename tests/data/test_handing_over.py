"""A worker that cannot hand over its batch says why within seconds; too little shared memory is told before that."""

import os
import re
import resource
import signal
import time
from types import SimpleNamespace

import pytest
from torch.utils.data import get_worker_info

from da_toolkit.data import shared_memory
from da_toolkit.data.loader import Loading
from da_toolkit.data.samples import Samples
from da_toolkit.data.sampling import EpochSampler
from da_toolkit.data.shared_memory import check_room, stored
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import UserError


def no_more_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def unsendable():
    class Own(Exception):
        pass

    raise Own("cannot be found by name")


def full():
    from multiprocessing.reduction import ForkingPickler

    import torch.multiprocessing.reductions as reductions

    def refuse(storage):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    import torch

    reductions.reduce_storage = refuse
    ForkingPickler.register(torch.UntypedStorage, refuse)


def bus_error():
    os.kill(os.getpid(), signal.SIGBUS)


HARMS = {
    "open files": (no_more_files, r"cannot hand over a batch: too many files are open; raise the limit \(`ulimit -n"),
    "what cannot be sent": (unsendable, r"raised what cannot be handed over.*cannot be found by name"),
    "full": (
        full,
        r"cannot hand over a batch: shared memory \(/dev/shm\) is full; give it more \(`docker run --shm-size",
    ),
    "bus error": (bus_error, r"A loader process of Toy train died, for shared memory is full.*--shm-size=1g"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_worker_that_cannot_hand_over_says_why(harm, toy):
    data, (work, said) = toy(6), HARMS[harm]
    image = data.image

    def harmful(index):
        if get_worker_info() is not None and index == 4:
            work()
        return image(index)

    data.image = harmful
    loading = Loading(Samples(data, (64, 96), Augmentation(), True, 0), EpochSampler(6, 2, seed=1), workers=1)
    began = time.monotonic()
    with pytest.raises(UserError) as told:
        for _ in range(3):
            next(loading)
    assert time.monotonic() - began < 60  # it would wait for 600
    assert re.search(said, str(told.value), re.S)


def test_a_worker_that_hangs_does_not_hold_up_the_end(toy):
    data = toy(6)
    data.image = lambda index: time.sleep(600)
    loading = Loading(Samples(data, (64, 96), Augmentation(), True, 0), EpochSampler(6, 2, seed=1), workers=2)
    time.sleep(1)
    began = time.monotonic()
    loading.close()
    assert time.monotonic() - began < 10
    for pid in loading.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_room_is_what_all_workers_make_ahead(monkeypatch, toy):
    free = 4 * stored(3 * 2 * 64 * 96, 2 * 64 * 96, 0, 16)
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_bavail=free, f_frsize=1, f_blocks=1))
    batch = Samples(toy(6), (64, 96), Augmentation(), True, 0).batch_bytes(2)
    check_room([batch], 2, 2)
    check_room([batch, batch], 1, 2)
    check_room([batch, batch, batch], 0, 2)
    with pytest.raises(UserError, match=r"/dev/shm has 0\.2 MB free, and 2 --workers .* 0\.4 MB of batches"):
        check_room([batch, batch], 2, 2)
    monkeypatch.undo()
    monkeypatch.setattr(shared_memory, "FOLDER", shared_memory.FOLDER / "not there")
    check_room([10**15], 2, 2)  # another system, which keeps it elsewhere
