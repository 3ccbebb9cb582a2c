"""Files written whole or not at all, and the error of a disk that refuses."""

import errno
import json
from pathlib import Path
from typing import Any

from da_toolkit.errors import UserError


def write_json(path: Path, value: Any) -> None:
    """Write beside the file and rename. Raises `UserError` naming the folder if the disk refuses."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the file and rename. Raises `UserError` naming the folder if the disk refuses."""
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
        raise disk_error(path.parent, error) from error


def disk_error(folder: Path, error: OSError, setting: str = "--runs") -> UserError:
    """The error for a folder that cannot be written to, and that `setting` names."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "no space is left" if full else error.strerror or str(error)
    remedy = "Free space there" if full else "Make it writable"
    return UserError(
        f"The folder {folder} cannot be written to: {reason}. {remedy} or set {setting} to another folder."
    )
