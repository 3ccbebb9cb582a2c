"""Which images a run's data are: keys and file sizes, by which it notices that they have changed meanwhile."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from da_toolkit.data.domain import DomainData

Entry = tuple[str | int | None, ...]
"""An image's key, then the bytes of each file that it is read from; none for a file that is not there."""

_NAMED = 3


@dataclass(frozen=True)
class Identity:
    """The images of each part of a run's data ("source", ...), in the order of their indices.

    Times are left out, for data are copied between machines; contents too, for reading 25,000 images takes minutes.
    So a file that is replaced by one of exactly as many bytes is not noticed.
    """

    parts: Mapping[str, Sequence[Entry]]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that are others for other images, sizes or orders."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {part: [list(entry) for entry in entries] for part, entries in self.parts.items()}

    @classmethod
    def from_json(cls, tree: Any) -> "Identity":
        """What `to_json` wrote. Raises ValueError for anything else."""
        try:
            parts = {str(part): [_entry(values) for values in entries] for part, entries in tree.items()}
        except (AttributeError, TypeError, KeyError) as error:
            raise ValueError(f"no list of images by part ({error})") from error
        return cls(parts)


def identity_of(parts: Mapping[str, tuple[DomainData, bool]]) -> Identity:
    """What the data are now, at the cost of one look at every file's size.

    Args:
        parts: by name, the images and whether their labels are read.
    """
    return Identity(
        {
            part: [(data.key(index), *map(_bytes, data.files(index, labels))) for index in range(len(data))]
            for part, (data, labels) in parts.items()
        }
    )


def differences(before: Identity, now: Identity) -> dict[str, str]:
    """By part, in what the images are not those from before: how many, and the first keys; empty if all are alike."""
    found = {}
    for part in dict.fromkeys((*before.parts, *now.parts)):
        old, new = before.parts.get(part, ()), now.parts.get(part, ())
        if list(old) != list(new):
            found[part] = f"{len(old)} images then, {len(new)} now: {_difference(old, new)}"
    return found


def _difference(old: Sequence[Entry], new: Sequence[Entry]) -> str:
    keys = Counter(entry[0] for entry in old), Counter(entry[0] for entry in new)
    added, removed = keys[1] - keys[0], keys[0] - keys[1]
    gone = Counter(old) - Counter(new)
    changed = [key for key in dict.fromkeys(entry[0] for entry in gone) if key not in removed and key not in added]
    told = [
        f"{sum(found.values())} {what} ({_few(list(found))})"
        for what, found in (("added", added), ("removed", removed), ("with files of other sizes", Counter(changed)))
        if found
    ]
    return "; ".join(told) or "the same ones in another order"


def _few(keys: Sequence[Any]) -> str:
    return ", ".join(map(str, keys[:_NAMED])) + (", ..." if len(keys) > _NAMED else "")


def _entry(values: Any) -> Entry:
    key, *sizes = values if isinstance(values, list) else (None,)
    if not isinstance(key, str) or not all(size is None or type(size) is int for size in sizes):
        raise ValueError(f"{values!r} is no key with sizes in bytes")
    return key, *sizes


def _bytes(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None  # told when it is read
