"""The lists in `results/*.json`: one record a run, put in one at a time, also by several processes."""

import fcntl
import json
from pathlib import Path
from typing import Any

from da_toolkit.files import write_json


def keep(file: Path, result: dict[str, Any], key: tuple[str, ...]) -> list[dict[str, Any]]:
    """Put a result among those in `file`, in the place of an older one with the same key; all of them.

    Several processes may do so at once.
    """
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(file.read_text()) if file.exists() else []
        others = [old for old in known if any(old[name] != result[name] for name in key)]
        write_json(file, [*others, result])
    return [*others, result]
