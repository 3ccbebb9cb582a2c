"""One process at a time works in a run's folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from da_toolkit.errors import UserError
from da_toolkit.training.provenance import disk_error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`; the system lets go of it when the process ends, however it ends.

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
        yield
