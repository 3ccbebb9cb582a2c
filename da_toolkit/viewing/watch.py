"""Which runs there are, looked up again and again: they begin, go on and vanish while the page is open."""

import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from da_toolkit.report.runs import must_be_folder, run_folders
from da_toolkit.viewing.look import Look, look_at
from da_toolkit.viewing.pictures import signature

_PAUSE = 2.0
"""Seconds between two searches of the folders, or more where a search takes long."""
_SHARE = 20
"""A search may take one part in so many of the time."""


class Watch:
    """The runs below some folders. Several threads may ask.

    Args:
        places: folders of runs, or folders that hold such at any depth.

    Raises:
        UserError: a place is not a folder.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        for place in places:
            must_be_folder(place)
        self.places = places
        self._folders: dict[str, Path] = {}
        self._labels: dict[str, str] = {}
        self._looks: dict[str, Look] = {}
        self._next = 0.0
        self._lock = threading.Lock()

    def runs(self) -> dict[str, Look]:
        """Every run by its key, in the order of the places, then of folders; read anew if something has changed."""
        with self._lock:
            if time.monotonic() >= self._next:
                self._search()
            return {key: self._current(key) for key in self._folders}

    def run(self, key: str) -> Look | None:
        """The run of that key."""
        with self._lock:
            return self._current(key) if key in self._folders else None

    def _search(self) -> None:
        begun = time.monotonic()
        found: dict[str, Path] = {}
        for place in self.places:
            for folder, _ in run_folders(place):
                real = folder.resolve()
                found.setdefault(hashlib.sha256(os.fsencode(real)).hexdigest()[:12], real)
        self._labels, self._folders = _labels(found), found
        self._looks = {key: look for key, look in self._looks.items() if key in found}
        ended = time.monotonic()
        self._next = ended + max(_PAUSE, _SHARE * (ended - begun))

    def _current(self, key: str) -> Look:
        folder, label, look = self._folders[key], self._labels[key], self._looks.get(key)
        if look is None or look.label != label or look.seen != signature(folder):
            look = self._looks[key] = look_at(folder, label)
        return look


def _labels(folders: Mapping[str, Path]) -> dict[str, str]:
    """Key -> the last two names of a folder, such as adaptseg_gta/0, or as many as tell it from the others."""
    count, labels = 2, dict[str, str]()
    while left := {key: folder for key, folder in folders.items() if key not in labels}:
        names = {key: "/".join(folder.parts[-count:]) for key, folder in left.items()}
        often = Counter(names.values())
        labels |= {key: name for key, name in names.items() if often[name] == 1 or count >= len(folders[key].parts)}
        count += 1
    return labels
