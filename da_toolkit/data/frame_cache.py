"""Training images and labels as they are after decoding and resizing, kept in a folder of the user's."""

import errno
import hashlib
import inspect
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import PIL
import torch

from da_toolkit import __version__
from da_toolkit.data.domain import Domain, DomainData
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.transforms import resized, resized_label
from da_toolkit.data.windows import Size
from da_toolkit.files import disk_error, write_shared

SETTING = "--frame-cache"
_FORMAT = 1  # raised when entries change
_CHECKSUM = 4  # bytes
_LEFT_BEHIND = 3600.0  # seconds after which a file that is being written belongs to a process that was killed


class FrameCache:
    """A folder of frames that any number of runs and processes may read and write at once.

    An entry's name is a hash of the files that the frame is made of (path, size, times), of the domain's settings and
    code, and of the size in pixels: so no frame of another file, setting or size can be read. Entries are written whole
    or not at all, and carry a checksum; a damaged one is made again. Nothing is ever deleted: that is the user's.

    Raises `UserError` if the folder cannot be written to, for another reason than a full disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refused = torch.zeros(1, dtype=torch.int32).share_memory_()
        """The number of the error for which the disk takes no more, for all processes of a run; 0 = it does."""
        self.told = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_shared(folder / "about.txt", lambda file: file.write(_ABOUT))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise disk_error(folder, error, SETTING) from error
            self.refused[0] = error.errno
        for file in folder.glob("*/*.tmp"):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > _LEFT_BEHIND:
                    file.unlink()

    def frames(self, data: DomainData, domain: Domain, size: Size) -> "Frames | None":
        """The frames of a domain's images at `size`; none for a domain whose images are in no files of their own."""
        return Frames(self, data, domain, size) if len(data) and data.files(0, False) else None

    def read(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """uint8 of `shape`, one's own; none where the entry is missing or damaged."""
        count = int(np.prod(shape))
        try:
            content = self._file(name).read_bytes()
        except (OSError, MemoryError):
            return None
        head = _head(count)
        if not content.startswith(head) or len(content) != len(head) + count + _CHECKSUM:
            return None
        found = np.frombuffer(bytearray(content), np.uint8, offset=len(head))
        values, checksum = found[:count], found[count:].tobytes()
        return values.reshape(shape) if _checksum(values) == checksum else None

    def write(self, name: str, values: np.ndarray) -> None:
        """Keep uint8 values; nothing is done once the disk has refused."""
        if self.refused[0]:
            return
        values = np.ascontiguousarray(values)

        def save(file: IO[bytes]) -> None:  # NumPy's own way of saving tells not what the disk lacks
            file.write(_head(values.size))
            file.write(values.data)
            file.write(_checksum(values))

        try:
            write_shared(self._file(name), save)
        except OSError as error:
            if error.errno != errno.ENOENT:  # the folder was deleted meanwhile, as it may be
                self.refused[0] = error.errno or errno.EIO

    def _file(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}.npy"

    def free(self) -> int:
        """Bytes that the disk has left."""
        there = next(place for place in (self.folder, *self.folder.absolute().parents) if place.exists())
        return shutil.disk_usage(there).free

    def trouble(self) -> str | None:
        """Once, why no more frames are kept; none where all is well."""
        if self.told or not (number := int(self.refused[0])):
            return None
        self.told = True
        why = str(disk_error(self.folder, OSError(number, os.strerror(number)), SETTING))
        return f"{why} The run goes on with the frames that are kept, and reads the others from their files."


class Frames:
    """A domain's images and labels at `size`, from the cache where they are there, put there where they are not."""

    def __init__(self, cache: FrameCache, data: DomainData, domain: Domain, size: Size) -> None:
        self.cache, self.data, self.size = cache, data, size
        self.settings = _settings(data, domain, size)

    def image(self, index: int) -> np.ndarray:
        """uint8 [*size,3]. Raises `UserError` as the domain's image does."""
        return self._frame(index, False, (*self.size, 3), lambda: resized(self.data.image(index), self.size))

    def label(self, index: int) -> np.ndarray:
        """uint8 [*size]. Raises `UserError` as the domain's label does."""
        return self._frame(index, True, self.size, lambda: resized_label(self.data.label(index), self.size))

    def _frame(self, index: int, label: bool, shape: tuple[int, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
        name = self._name(index, label)
        found = None if name is None else self.cache.read(name, shape)
        if found is None:
            found = make()
            if name is not None and name == self._name(index, label):  # or the file was replaced meanwhile
                self.cache.write(name, found)
        return found

    def _name(self, index: int, label: bool) -> str | None:
        """Of the entry; none where a file is missing, which is told when it is read."""
        digest = hashlib.blake2b(self.settings, digest_size=16)
        try:
            for file in self.data.files(index, label):
                known = os.stat(file)
                told = os.path.abspath(file), known.st_size, known.st_mtime_ns, known.st_ctime_ns
                digest.update(repr((label, told)).encode())
        except OSError:
            return None
        return digest.hexdigest()

    def bytes(self, labels: bool) -> int:
        """What all of them take on the disk, about."""
        pixels = self.size[0] * self.size[1]
        return len(self.data) * (3 + labels) * pixels


def _head(count: int) -> bytes:
    """How NumPy begins a file of so many values and their checksum."""
    head = BytesIO()
    told = {"descr": "|u1", "fortran_order": False, "shape": (count + _CHECKSUM,)}
    np.lib.format.write_array_header_1_0(head, told)
    return head.getvalue()


def _checksum(values: np.ndarray) -> bytes:
    return zlib.crc32(values.data).to_bytes(_CHECKSUM, "big")


def _settings(data: DomainData, domain: Domain, size: Size) -> bytes:
    """All but its files that decides what a frame is."""
    versions = _FORMAT, __version__, cv2.__version__, PIL.__version__
    classes = [kind for whole in (type(domain), type(data)) for kind in whole.__mro__]
    table = data.table.tobytes() if isinstance(data, FileDomainData) else b""
    digest = hashlib.blake2b(repr((versions, size, data.split, domain, domain.content_digest())).encode())
    for part in (table, *_own_code(classes)):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def _own_code(classes: list[type]) -> Iterator[bytes]:
    """The files of classes that are not the toolkit's, whose version says nothing of them."""
    for kind in classes:
        if kind.__module__.partition(".")[0] not in ("da_toolkit", "builtins", "abc"):
            with suppress(OSError, TypeError):
                yield Path(inspect.getfile(kind)).read_bytes()


_ABOUT = b"""Training frames that da_toolkit keeps for runs with --frame-cache.

Each file is a uint8 array of NumPy: a frame's values, then their checksum. All of it may be deleted at any time.
"""
