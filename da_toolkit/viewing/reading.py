"""JSON of a run's folder, which may be half written, damaged or foreign: what is wrong is told, never raised."""

import json
import math
from pathlib import Path
from typing import Any

LARGEST = 64 * 2**20
"""Bytes. Files of runs are far below; what is above belongs to something else."""
_ENORMOUS = 1e30
"""Numbers beyond are no score or loss that a picture could show."""


def text_of(file: Path, problems: list[str]) -> str | None:
    """The text of a file; none if it is missing, or, with a sentence added to `problems`, cannot be read."""
    try:
        if not file.is_file():
            return None
        if file.stat().st_size > LARGEST:
            problems.append(f"{file.name} has more than {LARGEST // 2**20} MiB and is not read.")
            return None
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        problems.append(f"{file.name} cannot be read ({error.strerror}).")
        return None


def json_of(file: Path, kind: type, problems: list[str]) -> Any:
    """What a JSON file holds; an empty `kind` if it is missing, damaged or holds something else."""
    text = text_of(file, problems)
    if text is None:
        return kind()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        problems.append(f"{file.name} is damaged ({error}).")
        return kind()
    if not isinstance(found, kind):
        problems.append(f"{file.name} is damaged (it holds no {'list' if kind is list else 'object'}).")
        return kind()
    return found


def number_of(value: Any) -> float | None:
    """A finite number; none for anything else, truth values too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) > _ENORMOUS:  # too large to become a float, perhaps
        return None
    return float(value) if math.isfinite(value) and abs(value) <= _ENORMOUS else None


def step_of(value: Any) -> int | None:
    """A number of steps, 0 or more."""
    number = number_of(value)
    return int(number) if number is not None and number >= 0 else None


def object_of(value: Any) -> dict[str, Any]:
    """The value, if it is an object, or an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """The value, if it is a list, or an empty one."""
    return value if isinstance(value, list) else []


def as_json(value: Any) -> bytes:
    """JSON of what a page is told: NaN becomes null, and names with broken characters stay what they are."""
    return json.dumps(_finite(value), allow_nan=False).encode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
