"""What the pixels of a file mean: every container, mode, depth and tag, as an image's colours or as a label's ids.

The two tables at the end of this module decide; docs/data.md tells them in words.
"""

import re
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from da_toolkit.data.png import SIGNATURE, Damaged, chunks, plain_pixels
from da_toolkit.errors import UserError

T = TypeVar("T")

CONTAINERS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")
"""What is opened at all, whatever the file is called. Of a phone's JPEG with more pictures (MPO) the first counts."""
LABEL_CONTAINERS = ("PNG", "TIFF", "BMP")
"""What can hold ids: no loss, and one channel in the order it was written (GIF renumbers, WebP has colours only)."""
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp", "tiff_thunderscan", "tiff_sgilog", "tiff_sgilog24")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what brings the stored pixels upright."""
_ORIENTATION, _BITS, _WHITE_IS, _PAGE_KIND = 274, 258, 262, 254  # tags of TIFF and EXIF
_LEAST_LEVELS = 16


def read_image(path: Path) -> np.ndarray:
    """uint8 RGB [H,W,3], upright. Raises `UserError` for a missing, damaged, foreign or ambiguous file."""
    return _read(path, "image", lambda picture: _colors(_upright(picture)), ("RGB",))


def colors_of(image: Image.Image) -> np.ndarray:
    """uint8 RGB [H,W,3], upright, of a Pillow picture. Raises `UserError` for one whose colours are not clear."""
    try:
        return _colors(_upright(_Picture(image.copy(), str(image.format), 16 if image.mode in _WIDE else 8)))
    except _Refused as error:
        raise UserError(f"The picture {error}") from error


def read_ids(path: Path) -> np.ndarray:
    """Raw ids [H,W], upright: the stored numbers; of a palette the *index*, never its colour.

    Raises:
        UserError: an unreadable file, a lossy one, or one with several channels (a colour-coded label).
    """
    return _read(path, "label", lambda picture: _ids(_upright(picture), AS_IDS), ("L", "P"))


def read_red_ids(path: Path) -> np.ndarray:
    """As `read_ids`, but of colours the red channel, where CARLA keeps its ids."""
    found = _read(path, "label", lambda picture: _ids(_upright(picture), AS_RED_IDS), ("L", "RGB"))
    return found[..., 0] if found.ndim == 3 else found


def read_label_colors(path: Path) -> np.ndarray:
    """uint8 RGB [H,W,3], upright, of a label whose classes are colours; a palette gives its colours.

    Raises:
        UserError: as `read_ids`, and for a file that holds ids instead.
    """
    return _read(path, "label", lambda picture: _label_colors(_upright(picture)), ("RGB",))


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image, upright, without decoding it. Raises `UserError` as `read_image`.

    Of a PNG without its pixels' checksums: it is asked for every label, whose image has been read.
    """
    return _size_of_png(path) or _read(path, "image", _size)


def file_bytes(path: Path) -> bytes:
    """A file's content. Raises `UserError` that says why there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        why = f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "does not exist"
        raise UserError(
            f"The file {path} {why}. Restore it, or leave it out (of a data set, with its pair)."
        ) from error
    except OSError as error:
        raise UserError(
            f"The file {path} cannot be opened ({error.strerror or error}). Mend its permissions or its disk, or "
            "remove its pair."
        ) from error


def checked_png(path: Path, content: bytes) -> bytes:
    """A PNG file's content again, if it is whole. Raises `UserError` for a truncated or damaged one."""
    try:
        if content.startswith(SIGNATURE):
            list(chunks(content))
    except Damaged as error:
        raise _unreadable(path, error) from error
    return content


class _Refused(Exception):
    """Readable, but it cannot mean what is asked for: the predicate of a sentence about the file, and the remedy."""


@dataclass(frozen=True)
class _Picture:
    image: Image.Image
    container: str
    bits: int
    """Of a channel, as stored; Pillow's modes tell less."""

    def tag(self, number: int) -> int | None:
        """A number of a TIFF file's first page."""
        found = getattr(self.image, "tag_v2", {}).get(number)
        return found if isinstance(found, int) else None


def _read(path: Path, what: str, convert: Callable[[_Picture], T], plain: Collection[str] = ()) -> T:
    """What `convert` makes of a picture; plain PNGs of the modes `plain` are handed out as they are stored."""
    content = file_bytes(path)
    try:
        if plain and (found := plain_pixels(content, plain)) is not None:
            return cast(T, found)
        with _opened(content, what == "label") as picture:
            return convert(picture)
    except _Refused as error:
        raise UserError(f"The {what} {path} {error}") from error
    except Image.DecompressionBombError as error:  # told by its header; nothing was decoded
        raise UserError(
            f"The {what} {path} is of absurd size: it has {_pixels(error)} pixels, and no more than "
            f"{2 * (Image.MAX_IMAGE_PIXELS or 0):,} are read. Cut it into parts, make it smaller, or leave it out."
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" in str(error):  # torch raises it wherever this process is when a worker dies
            raise
        raise _unreadable(path, error) from error
    except Exception as error:  # decoders raise whatever their parsers meet: struct.error, SyntaxError, KeyError, ...
        raise _unreadable(path, error, content) from error


def _pixels(error: Exception) -> str:
    """How many there are, from Pillow's sentence."""
    found = re.search(r"\d+", str(error))
    return f"{int(found[0]):,}" if found else "too many"


def _unreadable(path: Path, error: Exception, content: bytes = b"") -> UserError:
    why = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        start = f"its first bytes are {content[:24]!r}" if content else "it is empty"
        why = f"{start}; it is no {', '.join(CONTAINERS)} of a kind that is known here"
    return UserError(
        f"The file {path} cannot be read as an image ({why}): it is truncated or damaged. Copy it again, or "
        "remove it, of a data set with its pair; `python -m da_toolkit.prepare check RECIPE` lists all such files."
    )


@contextmanager
def _opened(content: bytes, is_label: bool) -> Iterator[_Picture]:
    """A file's one picture, not decoded yet; what no picture of its container can mean is refused here."""
    bits = 8
    if content.startswith(SIGNATURE):
        content, bits = _pixels_only(content)
    with Image.open(BytesIO(content), formats=CONTAINERS) as image:
        container = str(image.format)
        picture = _Picture(image, container, bits)
        if container == "TIFF":
            picture = _Picture(image, container, max(np.ravel(image.tag_v2.get(_BITS, 1)).tolist()))  # type: ignore[attr-defined]
        if container == "BMP" and _bits_of_bmp(content) != {"1": 1, "L": 8}.get(image.mode, _bits_of_bmp(content)):
            raise _Refused(
                "is a BMP with more bits than its grey palette needs, which is read wrongly. Save it as PNG."
            )
        if min(image.size) < 1:
            raise _Refused("has no pixels. Remove it with its pair.")
        if container != "MPO" and (count := _pages(picture)) > 1:
            raise _Refused(f"holds {count} pictures where one is expected. Save each as a file of its own.")
        if is_label:
            _check_label_container(picture)
        yield picture


def _check_label_container(picture: _Picture) -> None:
    lossy = picture.image.info.get("compression") in LOSSY_TIFF
    if picture.container not in LABEL_CONTAINERS or (picture.container == "TIFF" and lossy):
        kind = "JPEG" if picture.container == "MPO" else picture.container
        raise _Refused(
            f"is a {kind}{' with lossy compression' if lossy else ''}, which does not keep class ids as they were "
            "drawn (JPEG blends them, GIF renumbers them). Make the labels anew, as single-channel PNG; converting "
            "these files would keep the wrong ids."
        )
    if picture.container == "TIFF" and picture.tag(_WHITE_IS) == 0:
        raise _Refused("is stored inverted (TIFF, WhiteIsZero), so its ids are not clear. Save it as PNG.")


def _pages(picture: _Picture) -> int:
    """Pictures in a file; smaller copies (pyramids) and masks beside a TIFF's picture do not count."""
    image = picture.image
    count = int(getattr(image, "n_frames", 1))
    if count == 1 or picture.container != "TIFF":
        return count
    kinds = []
    for page in range(count):
        image.seek(page)
        kinds.append(picture.tag(_PAGE_KIND) or 0)
    image.seek(0)
    return 1 + sum(not kind & 0b101 for kind in kinds[1:])


def _bits_of_bmp(content: bytes) -> int:
    (header,) = struct.unpack_from("<I", content, 14)
    return int(struct.unpack_from("<H", content, 24 if header == 12 else 28)[0])


# PNG. Pillow looks at none of the pixels' checksums, and refuses files for metadata that it finds too large.


def _pixels_only(content: bytes) -> tuple[bytes, int]:
    """A PNG without metadata but EXIF, which comes before the pixels then, and its bits per channel."""
    found = list(chunks(content))
    if any(kind == b"acTL" and int.from_bytes(inside[:4], "big") > 1 for kind, inside in found):
        raise _Refused("is an animation where one picture is expected. Save one of its pictures.")
    first = found[0][1] if found[0][0] == b"IHDR" else b""
    if len(first) != 13:
        raise Damaged("it has no header")
    kept = [chunk for kind in (b"IHDR", b"eXIf", b"PLTE", b"IDAT", b"IEND") for chunk in found if chunk[0] == kind]
    parts = [len(i).to_bytes(4, "big") + k + i + zlib.crc32(k + i).to_bytes(4, "big") for k, i in kept]
    return b"".join((SIGNATURE, *parts)), first[8]


# Tags


def _orientation(picture: _Picture) -> int:
    """1 to 8, as EXIF counts; 1 where there is none or it makes no sense. A TIFF is turned by Pillow itself."""
    if picture.container == "TIFF" or (picture.container == "PNG" and "exif" not in picture.image.info):
        return 1  # Pillow would decode a PNG in search of a tag behind its pixels
    try:
        found = picture.image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken metadata of sound pixels; viewers show them as they are stored, too
        return 1
    return found if found in _TURNS else 1


def _size(picture: _Picture) -> tuple[int, int]:
    width, height = picture.image.size
    return (width, height) if _orientation(picture) >= 5 else (height, width)


def _size_of_png(path: Path) -> tuple[int, int] | None:
    """From the heads of a PNG's chunks alone; none for any other file, and for one that needs a closer look."""
    try:
        with path.open("rb") as file:
            if file.read(len(SIGNATURE)) != SIGNATURE:
                return None
            size, orientation = None, 1
            while len(head := file.read(8)) == 8:
                length, kind = struct.unpack(">I4s", head)
                if kind == b"IHDR":
                    width, height = struct.unpack(">II", file.read(8))
                    size, length = (height, width), length - 8
                elif kind == b"acTL":
                    return None
                elif kind == b"eXIf":
                    exif = Image.Exif()
                    exif.load(file.read(length))
                    orientation, length = exif.get(_ORIENTATION, 1), 0
                elif kind == b"IEND":
                    return size[::-1] if size and orientation in _TURNS and orientation >= 5 else size
                file.seek(length + 4, 1)
    except Exception:  # told by the closer look
        return None
    return None


def _upright(picture: _Picture) -> _Picture:
    picture.image.load()
    turn = _TURNS.get(_orientation(picture))
    return picture if turn is None else replace(picture, image=picture.image.transpose(turn))


# Images


def _colors(picture: _Picture) -> np.ndarray:
    if picture.image.mode not in AS_COLORS:
        raise _Refused(
            f"has pixels of the kind {picture.image.mode}, whose colours are not clear. Save it as 8-bit RGB."
        )
    return AS_COLORS[picture.image.mode](picture)


def _converted(picture: _Picture) -> np.ndarray:
    """As Pillow converts; transparency is left out, and of 16 bits the upper 8 stay."""
    image = picture.image
    image.info.pop("transparency", None)
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    colors = np.asarray(image.convert("RGB"))
    if picture.bits > 8 and 0 < int(colors.max()) - int(colors.min()) < _LEAST_LEVELS:
        raise _Refused(_nearly_plain(int(colors.max()) - int(colors.min()) + 1))
    return colors


def _scaled(white: int | None) -> Callable[[_Picture], np.ndarray]:
    """Grey from 0 = black to `white`, by default all bits set, brought to 0..255."""

    def scale(picture: _Picture) -> np.ndarray:
        values = np.asarray(picture.image)
        most = white or 2**picture.bits - 1
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= most):  # also for NaN
            raise _Refused(
                f"holds values from {low:g} to {high:g}, where 0 is black and {most:g} white for pixels of this kind. "
                "Bring all images of the data set to 8 bits with one scale."
            )
        # Of integers the upper 8 bits, as Pillow, OpenCV and libpng do with colours.
        bits = int(most).bit_length()
        grey = (np.rint(values * 255) if picture.image.mode == "F" else values >> bits - 8).astype(np.uint8)
        if picture.tag(_WHITE_IS) == 0:
            grey = 255 - grey
        levels = int(np.count_nonzero(np.bincount(grey.ravel())))
        if levels < _LEAST_LEVELS and len(np.unique(values)) > 4 * levels:
            raise _Refused(_nearly_plain(levels))
        return np.repeat(grey[..., None], 3, axis=2)

    return scale


def _nearly_plain(levels: int) -> str:
    return (
        f"would be nearly plain: its values fill so little of their range that {levels} of 256 levels are left. They "
        "seem to be a sensor's counts. Bring all images of the data set to 8 bits with one scale."
    )


# Labels


def _ids(picture: _Picture, table: dict[str, Callable[[_Picture], np.ndarray]]) -> np.ndarray:
    return table.get(picture.image.mode, _no_ids)(picture)


def _stored(picture: _Picture) -> np.ndarray:
    """The numbers in the file. Pillow stretches grey of 2 and 4 bits to 0..255."""
    ids = np.asarray(picture.image)
    if picture.image.mode == "L" and picture.bits in (2, 4):
        return ids // (255 // (2**picture.bits - 1))
    return ids.astype(np.uint8) if ids.dtype == bool else ids


def _first_if_opaque(picture: _Picture) -> np.ndarray:
    channels = np.asarray(picture.image)
    if picture.bits > 8 or (channels[..., 1] != 255).any():
        return _no_ids(picture)
    return channels[..., 0]


def _red(picture: _Picture) -> np.ndarray:
    if picture.bits > 8:
        return _no_ids(picture)
    return np.asarray(picture.image.convert("RGB"))[..., 0]


def _label_colors(picture: _Picture) -> np.ndarray:
    if picture.image.mode not in ("P", "RGB", "RGBA", "RGBX") or picture.bits > 8:
        raise _Refused(
            f"has pixels of the kind {picture.image.mode} of {picture.bits} bits, where 8-bit colours that mean "
            "classes are expected. Use the data set's colour-coded files, not its id files."
        )
    return np.asarray(picture.image.convert("RGB"))


def _no_ids(picture: _Picture) -> np.ndarray:
    channels = np.asarray(picture.image)
    if channels.ndim == 2:
        raise _Refused("holds fractions where class ids are expected. Save the ids as 8-bit or 16-bit PNG.")
    equal = (channels[..., :3] == channels[..., :1]).all() and channels.shape[2] >= 3
    raise _Refused(
        f"has {channels.shape[2]} channels where one channel of class ids is expected: it "
        + ("has three equal ones. Save one of them." if equal else "looks colour-coded.")
        + " Use the data set's id files, not its coloured ones."
    )


_Meaning = dict[str, Callable[[_Picture], np.ndarray]]
_WIDE = ("I;16", "I;16L", "I;16B", "I;16N")

AS_COLORS: _Meaning = {
    **dict.fromkeys(("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"), _converted),
    **dict.fromkeys(("LA", "La", "PA", "RGBA", "RGBa"), _converted),  # the colours under the transparency
    **dict.fromkeys(_WIDE, _scaled(None)),
    "I": _scaled(65535),  # in which Pillow also hands out 16 bits
    "F": _scaled(1),
}
"""Pillow's mode of an image -> uint8 RGB [H,W,3]."""

AS_IDS: _Meaning = {
    **dict.fromkeys(("1", "L", "P", "I", *_WIDE), _stored),
    **dict.fromkeys(("LA", "PA"), _first_if_opaque),
}
"""Pillow's mode of a label -> ids [H,W]; all others have several channels, or fractions, and are refused."""

AS_RED_IDS: _Meaning = {**AS_IDS, **dict.fromkeys(("P", "RGB", "RGBA", "RGBX"), _red)}
"""The same where the ids may stand in the red of a colour, or of a palette's colours."""
