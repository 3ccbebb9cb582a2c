"""What a PNG file is made of, and the pixels of plain ones by decoders that are faster than Pillow's, if installed."""

import struct
import zlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from PIL import Image

try:
    import pyspng
    from isal import isal_zlib
except ImportError:
    FAST = False
    """Whether they are installed; without them Pillow reads the same pixels, in more time."""
else:
    FAST = True

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = {0: ("L", 1), 2: ("RGB", 3), 3: ("P", 1)}
"""Colour type -> Pillow's mode at 8 bits, and bytes of a pixel."""
_BLOCK = 65535  # bytes that a block of stored data holds at most


class Damaged(Exception):
    """Not what its container promises."""


def chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, content) of each chunk up to the last. Raises `Damaged` where one is cut or its checksum is wrong."""
    whole = memoryview(content)
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        if at + 12 > len(content):
            raise Damaged("the file ends too early")
        length, kind = struct.unpack_from(">I4s", content, at)
        inside = whole[at + 8 : at + 8 + length]
        if len(inside) < length or at + 12 + length > len(content):
            raise Damaged("the file ends too early")
        if zlib.crc32(inside, zlib.crc32(kind)) != struct.unpack_from(">I", content, at + 8 + length)[0]:
            raise Damaged(f"a checksum is wrong, of its {kind.decode('latin-1')}")
        yield kind, inside
        at += 12 + length


def plain_pixels(content: bytes, modes: Collection[str]) -> np.ndarray | None:
    """uint8 [H,W] grey or palette indices, or [H,W,3], as stored; none for a file that Pillow is to read or to refuse.

    Only what can mean one thing is read here: one PNG picture of 8 bits that is not interlaced, turned or animated.

    Args:
        modes: those that are wanted of L, P and RGB.
    """
    if not FAST or not content.startswith(SIGNATURE):
        return None
    found = list(chunks(content))
    kinds = [kind for kind, _ in found]
    if kinds[0] != b"IHDR" or kinds.count(b"IHDR") > 1 or b"acTL" in kinds or b"eXIf" in kinds:
        return None
    if len(found[0][1]) != 13:
        return None
    width, height, bits, color, *methods = struct.unpack(">IIBBBBB", found[0][1])
    mode, channels = _KINDS.get(color, ("", 0))
    if mode not in modes or bits != 8 or any(methods) or (mode == "P" and b"PLTE" not in kinds):
        return None
    if not 0 < width * height <= (Image.MAX_IMAGE_PIXELS or 0):
        return None
    lines = _lines(b"".join(inside for kind, inside in found if kind == b"IDAT"), height * (width * channels + 1))
    if lines is None:
        return None
    table = np.frombuffer(lines, np.uint8).reshape(height, -1)
    if not table[:, 0].any():  # no line is told by its neighbours, as in most palette files
        return np.ascontiguousarray(table[:, 1:]).reshape((height, width, 3) if channels == 3 else (height, width))
    if table[:, 0].max() > 4:
        return None
    return pyspng.load(_stored(lines, width, height, 0 if channels == 1 else 2))


def _lines(compressed: bytes, size: int) -> bytes | None:
    """The filtered lines; none unless they are whole, with the right checksum."""
    stream = isal_zlib.decompressobj()
    try:
        lines = stream.decompress(compressed, size)
        rest = b"" if stream.eof else stream.decompress(stream.unconsumed_tail, 1)
    except Exception:  # what is wrong with it is said by Pillow
        return None
    return lines if len(lines) == size and not rest and stream.eof else None


def _stored(lines: bytes, width: int, height: int, color: int) -> bytes:
    """A PNG of the same lines without compression: pyspng's filters are fast, its decompression is not."""
    view = memoryview(lines)
    starts = range(0, len(lines), _BLOCK)
    blocks: list[bytes | memoryview] = [b"\x78\x01"]
    for start in starts:
        block = view[start : start + _BLOCK]
        blocks += [struct.pack("<BHH", start == starts[-1], len(block), len(block) ^ 0xFFFF), block]
    blocks.append(struct.pack(">I", isal_zlib.adler32(lines)))
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return b"".join((SIGNATURE, *_chunk(b"IHDR", [header]), *_chunk(b"IDAT", blocks), *_chunk(b"IEND", [])))


def _chunk(kind: bytes, parts: Sequence[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    checksum = isal_zlib.crc32(kind)
    for part in parts:
        checksum = isal_zlib.crc32(part, checksum)
    yield struct.pack(">I4s", sum(map(len, parts)), kind)
    yield from parts
    yield struct.pack(">I", checksum)
