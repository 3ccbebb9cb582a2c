"""One process at a time works in a run's folder."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from da_toolkit.errors import UserError
from da_toolkit.files import disk_error, try_lock

_held: set[TextIO] = set()  # or a killed run's loader workers, which live on for seconds, would hold its folder


def _let_go() -> None:
    for lock in _held:
        lock.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`; the system lets go of it when the process ends, however it ends. Forked processes do not hold it.
    A file system without locks is told, and the folder is used all the same.

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
            held = try_lock(lock)
        except OSError as error:
            raise disk_error(file.parent, error) from error
        if held is False:
            lock.seek(0)
            raise UserError(
                f"The folder {folder} is in use by another run (process {lock.read().strip() or 'unknown'}). Wait for "
                "it, stop it, or pass another --runs or --seed."
            )
        if held is None:
            print(
                f"warning: the file system of {folder} has no file locks, so a second run in this folder would not be "
                "noticed: start none there, or set --runs to another file system.",
                file=sys.stderr,
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        _held.add(lock)
        try:
            yield
        finally:
            _held.discard(lock)
