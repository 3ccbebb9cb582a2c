"""Worker processes: how many there may be, and what one does first: it leaves signals to the process that started it,
and ends with it."""

import ctypes
import multiprocessing
import os
import signal
import sys
from contextlib import suppress

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def usable_cores() -> int:
    """Cores that this process may run on: fewer than the machine has where a scheduler or a cpuset says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_worker() -> None:
    """In the main thread of a process that `multiprocessing` has just started.

    Stop signals reach all processes of a group, and the main one alone decides what they mean.
    """
    signal.set_wakeup_fd(-1)  # the main process's, if this one is a fork
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:  # it ended before
            os._exit(1)


def keep_memory() -> None:
    """Let this process keep what it frees, as far as its C library can be told so.

    An image takes some arrays of megabytes. By default the system takes them back after each of these and zeroes new
    ones for the next, which takes as long as reading the file.
    """
    tell = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tell is not None:
        tell(_M_MMAP_THRESHOLD, 1 << 25)  # bytes; more is refused
        tell(_M_TRIM_THRESHOLD, 1 << 28)


def kill(processes: list[multiprocessing.Process]) -> None:
    """End them now, since they ignore what would ask them to."""
    for process in processes:
        with suppress(ValueError, AttributeError):  # closed, or never begun
            process.kill()
