"""Files written whole or not at all, their locks, the error of a disk that refuses, and where caches lie."""

import errno
import fcntl
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from da_toolkit.errors import UserError


def write_json(path: Path, value: Any, setting: str = "--runs") -> None:
    """Write beside the file and rename. Raises `UserError` naming the folder, and `setting`, if the disk refuses."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode(), setting)


def write_whole(path: Path, content: bytes, setting: str = "--runs") -> None:
    """Write beside the file and rename. Raises `UserError` naming the folder, and `setting`, if the disk refuses."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise disk_error(path.parent, error, setting) from error


def write_shared(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """What `write` puts into a file, whole or not at all; several processes may do so at once, and one of them wins.

    Raises OSError if the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            write(file)
        temporary.replace(path)
    except BaseException:  # also when this is broken off
        temporary.unlink(missing_ok=True)
        raise


_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""What file systems without locks answer: Lustre without -o flock, NFS without lockd, some FUSE."""


def try_lock(file: IO[Any]) -> bool | None:
    """Whether this process holds the open file's lock now; none where its file system has no locks.

    Raises OSError for anything else that is wrong.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):  # another process has it
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def disk_error(folder: Path, error: OSError, setting: str = "--runs") -> UserError:
    """The error for a folder that cannot be written to, and that `setting` names."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "no space is left" if full else error.strerror or str(error)
    remedy = "Free space there" if full else "Make it writable"
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        reason, remedy = "a file is in its place", "Move that"
    return UserError(
        f"The folder {folder} cannot be written to: {reason}. {remedy} or set {setting} to another folder."
    )


def cache_folder(name: str) -> Path:
    """$DA_TOOLKIT_CACHE/name, by default ~/.cache/da_toolkit/name."""
    base = os.environ.get("DA_TOOLKIT_CACHE") or Path.home() / ".cache" / "da_toolkit"
    return Path(base) / name
