"""The fast way of reading plain PNGs gives what Pillow gives, and leaves all else to it."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from da_toolkit.data import png
from da_toolkit.data.pixels import read_ids, read_image, read_label_colors, read_red_ids
from da_toolkit.data.png import plain_pixels
from da_toolkit.errors import UserError

pytest.importorskip("pyspng")
pytest.importorskip("isal")

ALL = ("L", "P", "RGB")
READERS = (read_image, read_ids, read_red_ids, read_label_colors)


def chunk(kind, inside):
    return len(inside).to_bytes(4, "big") + kind + inside + zlib.crc32(kind + inside).to_bytes(4, "big")


def written(pixels, filters, *, color=2, bits=8, methods=(0, 0, 0), extra=(), stream=None):
    """A PNG of uint8 [H,W,3] or [H,W], each row by the next of `filters`, as the specification words them."""
    height, width = pixels.shape[:2]
    step = pixels[0, 0].size
    rows = pixels.reshape(height, -1).astype(int)
    lines = b""
    for number, row in enumerate(rows):
        above = rows[number - 1] if number else np.zeros_like(row)
        left, corner = (np.concatenate((np.zeros(step, int), line[:-step])) for line in (row, above))
        to = [abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)]
        paeth = np.where((to[0] <= to[1]) & (to[0] <= to[2]), left, np.where(to[1] <= to[2], above, corner))
        kind = filters[number % len(filters)]
        guess = (0 * row, left, above, (left + above) // 2, paeth)[kind]
        lines += bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes()
    data = zlib.compress(lines) if stream is None else stream(lines)
    header = struct.pack(">IIBBBBB", width, height, bits, color, *methods)
    parts = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", data[:7]), chunk(b"IDAT", data[7:]), chunk(b"IEND", b""))
    return png.SIGNATURE + b"".join(parts)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (33, 150, 3), dtype=np.uint8)


@pytest.mark.parametrize("filters", [(0,), (1,), (2,), (3,), (4,), (0, 1, 2, 3, 4)])
def test_every_filter_is_undone(pixels, filters):
    assert np.array_equal(plain_pixels(written(pixels, filters), ALL), pixels)
    assert np.array_equal(plain_pixels(written(pixels[..., 0], filters, color=0), ALL), pixels[..., 0])
    palette = chunk(b"PLTE", bytes(range(256)) * 3)
    indices = plain_pixels(written(pixels[..., 1], filters, color=3, extra=(palette,)), ALL)
    assert np.array_equal(indices, pixels[..., 1])  # the numbers, not the colours


def test_more_than_one_stored_block(pixels):
    large = np.tile(pixels, (8, 3, 1))
    assert np.array_equal(plain_pixels(written(large, (4, 2)), ALL), large)


def cut(lines):
    return zlib.compress(lines[:-3])


def wrong_checksum(lines):
    content = bytearray(zlib.compress(lines))
    content[-1] ^= 1
    return bytes(content)


LEFT = {
    "transposed by its EXIF": dict(extra=(chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0"),)),
    "an animation": dict(extra=(chunk(b"acTL", (2).to_bytes(4, "big") + bytes(4)),)),
    "interlaced": dict(methods=(0, 0, 1)),
    "of another method": dict(methods=(1, 0, 0)),
    "of 16 bits": dict(bits=16),
    "a palette's file without one": dict(color=3),
    "with a line cut": dict(stream=cut),
    "with more than its lines": dict(stream=lambda lines: zlib.compress(lines + b"abc")),
    "with another checksum of its pixels": dict(stream=wrong_checksum),
    "no stream": dict(stream=lambda lines: b"nothing that was compressed"),
    "with a header twice": dict(extra=(chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 2, 0, 0, 0)),)),
}


@pytest.mark.parametrize("what", LEFT)
def test_what_is_not_plain_is_left_to_pillow(pixels, what):
    assert plain_pixels(written(pixels, (0, 4), **LEFT[what]), ALL) is None


def test_an_unknown_filter_an_unwanted_mode_and_an_absurd_size_are_left_to_pillow(pixels, monkeypatch):
    content = written(pixels, (0, 4))
    assert plain_pixels(content, ("L", "P")) is None and plain_pixels(b"GIF89a", ALL) is None
    lines = b"".join(b"\5" + row.tobytes() for row in pixels)
    assert plain_pixels(written(pixels, (0,), stream=lambda _: zlib.compress(lines)), ALL) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels[..., 0].size - 1)
    assert plain_pixels(content, ALL) is None


def told(read, path):
    try:
        return read(path)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"])
@pytest.mark.parametrize("transparent", [False, True])
def test_files_of_every_mode_mean_the_same_without_it(tmp_path, pixels, monkeypatch, mode, transparent):
    picture = Image.fromarray(pixels)
    if mode == "I;16":
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 256)
    elif mode != "RGB":
        picture = picture.convert(mode)
    how = {"transparency": (1, 2, 3) if mode == "RGB" else 1} if transparent and mode in ("L", "P", "RGB") else {}
    picture.save(tmp_path / "a.png", **how)
    fast = [told(read, tmp_path / "a.png") for read in READERS]
    monkeypatch.setattr(png, "FAST", False)
    for ours, slow in zip(fast, (told(read, tmp_path / "a.png") for read in READERS), strict=True):
        assert np.array_equal(ours, slow) and getattr(ours, "dtype", None) == getattr(slow, "dtype", None)
    assert any(isinstance(found, np.ndarray) for found in fast)
