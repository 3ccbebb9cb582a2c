"""One process at a time works in a run's folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from da_toolkit.errors import UserError
from da_toolkit.files import disk_error

_held: set[TextIO] = set()  # or a killed run's loader workers, which live on for seconds, would hold its folder


def _let_go() -> None:
    for lock in _held:
        lock.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`; the system lets go of it when the process ends, however it ends. Forked processes do not hold it.

    Raises:
        UserError: another process holds it, or nothing can be written there.
    """
    file = folder.with_name(f".{folder.name}.lock")  # beside it: --overwrite deletes the folder
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("a+")
    except OSError as error:
        raise disk_error(file.parent, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise UserError(
                f"The folder {folder} is in use by another run (process {lock.read().strip() or 'unknown'}). Wait for "
                "it, stop it, or pass another --runs or --seed."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        _held.add(lock)
        try:
            yield
        finally:
            _held.discard(lock)
