"""How batches get from worker processes to the training one: through shared memory, which may be too small."""

import errno
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

from da_toolkit.errors import UserError

FOLDER = Path("/dev/shm")
"""Where Linux keeps it."""
PREFETCHED = 2
"""Batches that a worker process makes ahead."""
REMEDY = (
    "give it more (`docker run --shm-size=1g` or `--ipc=host`; `mount -o remount,size=1g /dev/shm`), or try fewer "
    "--workers, or 0"
)
_OPEN_FILES = "raise the limit (`ulimit -n 65536`), or try fewer --workers, or 0"


def stored(*tensors: int) -> int:
    """Bytes that a batch's tensors of so many bytes take: each is a file of whole pages."""
    return sum(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in tensors)


def check_room(batches: Iterable[int], workers: int, batch_size: int) -> None:
    """Raises `UserError` where the batches that worker processes make ahead cannot all be held.

    Those surely are: while a stage is prepared or the network is scored, nobody takes one.

    Args:
        batches: bytes of one batch of each domain, as `stored` counts them.
        workers: processes for each domain.
    """
    free = _free()
    needed = sum(batches) * workers * PREFETCHED
    if workers and free is not None and needed > free:
        raise UserError(
            f"Shared memory is too small: {FOLDER} has {_megabytes(free)} free, and {workers} --workers for each "
            f"domain hold {_megabytes(needed)} of batches in it ({PREFETCHED} each, of {batch_size} images). For that, "
            f"{REMEDY}."
        )


def _free() -> int | None:
    """Bytes; none where there is no such folder, or it has no limit."""
    try:
        found = os.statvfs(FOLDER)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize if found.f_blocks else None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def handing_over(error: BaseException) -> str | None:
    """What went wrong, and the remedy, where the system refused what handing over a batch needs; else none."""
    text, number = str(error), getattr(error, "errno", None)
    if number in (errno.EMFILE, errno.ENFILE) or "Too many open files" in text or "items of ancdata" in text:
        return f"too many files are open; {_OPEN_FILES}"
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text or "shared memory" in text:
        return f"shared memory ({FOLDER}) is full; {REMEDY}"
    if number in (errno.ENOMEM, errno.EAGAIN) or isinstance(error, MemoryError) or "Cannot allocate memory" in text:
        return f"the system refuses memory or processes ({text.splitlines()[0]}); try fewer --workers, or 0"
    return None
