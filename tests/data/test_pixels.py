"""What every mode, depth, container and tag means, against values written here by hand."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from da_toolkit.data.encodings import RawClasses
from da_toolkit.data.files import FileDomainData, Pair
from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.data.listing import IMAGE_ENDINGS, LABEL_ENDINGS, NOT_DATA, SUFFIXES
from da_toolkit.data.pixels import (
    AS_COLORS,
    AS_IDS,
    CONTAINERS,
    LABEL_CONTAINERS,
    read_ids,
    read_image,
    read_red_ids,
    read_size,
)
from da_toolkit.errors import UserError

OFTEN = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
STEPS = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)
"""Grey whose sixteen-bit and fractional forms are whole multiples."""


def chunk(kind, content):
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def png(rows, bits, width, kind=0, between=(), after=()):
    """A PNG of packed rows, without any library's opinion."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    parts = (chunk(b"IHDR", header), *between, chunk(b"IDAT", pixels), *after, chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def grey(array):
    return np.repeat(np.asarray(array)[..., None], 3, axis=2).tolist()


def save(path, array, **how):
    Image.fromarray(np.asarray(array)).save(path, **how)
    return path


# Images


@pytest.mark.parametrize("end", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path, end):
    assert read_image(save(tmp_path / f"a.{end}", STEPS.astype(np.uint16) * 257)).tolist() == grey(STEPS)


@pytest.mark.parametrize(("kind", "white"), [(np.int32, 65535), (np.float32, 1)])
def test_wide_integers_and_fractions_are_scaled_from_black_to_white(tmp_path, kind, white):
    values = (STEPS / 255 * white).astype(kind)
    assert read_image(save(tmp_path / "a.tif", values)).tolist() == grey(STEPS)
    for wrong in (values * 2, -values, *([values * np.nan] if kind == np.float32 else [])):
        with pytest.raises(UserError, match=r"a\.tif holds values from \S+ to \S+, where 0 is black and \S+ white"):
            read_image(save(tmp_path / "a.tif", wrong))


def test_a_sensors_counts_that_would_become_a_plain_image_are_refused(tmp_path):
    counts = np.arange(29000, 29600, dtype=np.uint16).reshape(20, 30)
    with pytest.raises(UserError, match=r"a\.png would be nearly plain: .* 3 of 256 levels"):
        read_image(save(tmp_path / "a.png", counts))
    cv2.imwrite(str(tmp_path / "b.png"), np.repeat(counts[..., None], 3, axis=2) - 29000 + 200)
    with pytest.raises(UserError, match=r"b\.png would be nearly plain"):
        read_image(tmp_path / "b.png")
    assert (read_image(save(tmp_path / "c.png", np.full((2, 2), 514, np.uint16))) == 2).all()  # plain from the start


def test_twelve_bit_grey_has_a_white_of_twelve_bits(tmp_path):
    values = [0, 4095, 273, 2730]
    packed = b"".join(
        bytes((a >> 4, (a & 15) << 4 | b >> 8, b & 255)) for a, b in zip(values[::2], values[1::2], strict=True)
    )
    tags = [(256, 4, 1, 4), (257, 4, 1, 1), (258, 3, 1, 12), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 110), (277, 3, 1, 1), (278, 4, 1, 1)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    (tmp_path / "a.tif").write_bytes((b"II*\0\x08\0\0\0" + directory).ljust(110, b"\0") + packed)
    assert read_image(tmp_path / "a.tif").tolist() == grey([[0, 255, 17, 170]])


def test_sixteen_bit_colours_keep_their_upper_eight(tmp_path):
    colors = np.arange(24).reshape(2, 4, 3).astype(np.uint8) * 10
    cv2.imwrite(str(tmp_path / "a.png"), colors[..., ::-1].astype(np.uint16) * 256 + 99)
    assert (read_image(tmp_path / "a.png") == colors).all()


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBA"])
def test_the_colours_under_transparency_count(tmp_path, mode):
    colors = np.full((2, 3, 3), (200, 40, 40) if mode == "RGBA" else 90, np.uint8)
    alpha = Image.fromarray(STEPS)
    picture = Image.fromarray(colors).convert(mode[:-1])
    if mode == "PA":
        picture = Image.fromarray(colors).convert("L").convert("P")
    picture = picture.convert(mode)
    picture.putalpha(alpha)
    picture.save(tmp_path / "a.tif")
    assert Image.open(tmp_path / "a.tif").mode == mode
    assert (read_image(tmp_path / "a.tif") == colors).all()


def test_a_palette_gives_its_colours_also_with_transparent_ones(tmp_path, recwarn):
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    picture.putpalette([9, 8, 7, 60, 50, 40, 255, 0, 1])
    picture.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    assert read_image(tmp_path / "a.png").tolist() == [[[9, 8, 7], [60, 50, 40], [255, 0, 1]]]
    assert not recwarn.list


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "1"])
def test_other_colour_models_show_the_same_picture(tmp_path, mode):
    colors = np.array([[[0, 0, 0], [255, 255, 255], [250, 40, 40], [40, 40, 250]]], np.uint8)
    if mode == "1":
        colors = colors[:, :2]
    picture = Image.fromarray(colors)
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        changed = ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")
        picture = changed
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / "a.tif")
    assert Image.open(tmp_path / "a.tif").mode == mode
    assert np.abs(read_image(tmp_path / "a.tif").astype(int) - colors).max() <= 12


def test_an_inverted_tiff_is_shown_as_it_is_meant(tmp_path):
    for values, white in ((STEPS, 255), (STEPS.astype(np.uint16) * 257, 65535)):
        picture = Image.fromarray(white - values)
        picture.save(tmp_path / "a.tif", tiffinfo={262: 0})
        stored = Image.open(tmp_path / "a.tif").tag_v2[262]
        assert stored == 0 and read_image(tmp_path / "a.tif").tolist() == grey(STEPS if white > 255 else 255 - STEPS)
        with pytest.raises(UserError, match=r"a\.tif is stored inverted"):
            read_ids(tmp_path / "a.tif")


UPRIGHT = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14
STORED = {
    **{1: UPRIGHT, 2: UPRIGHT[:, ::-1], 3: UPRIGHT[::-1, ::-1], 4: UPRIGHT[::-1], 5: UPRIGHT.transpose(1, 0, 2)},
    **{6: np.rot90(UPRIGHT, 1), 7: np.rot90(UPRIGHT, 2).transpose(1, 0, 2), 8: np.rot90(UPRIGHT, -1)},
}
"""EXIF orientation -> what a camera stores, by the standard's words on where row 0 and column 0 lie."""


@pytest.mark.parametrize("end", ["png", "tif", "webp", "late.png"])
@pytest.mark.parametrize("tag", STORED)
def test_images_and_labels_are_turned_as_exif_says(tmp_path, tag, end):
    exif = Image.Exif()
    exif[0x0112] = tag
    image, label = tmp_path / f"image.{end}", tmp_path / f"label.{end}"
    stored = np.ascontiguousarray(STORED[tag])
    how = {"lossless": True} if end == "webp" else {}
    if end == "late.png":  # the chunk may come after the pixels
        late = (chunk(b"eXIf", exif.tobytes()[6:] if exif.tobytes().startswith(b"Exif") else exif.tobytes()),)
        image.write_bytes(png(stored.reshape(len(stored), -1), 8, stored.shape[1], kind=2, after=late))
        label.write_bytes(png(stored[..., 0], 8, stored.shape[1], after=late))
    else:
        save(image, stored, exif=exif, **how)
        save(label, stored[..., 0], exif=exif, **how)
    assert read_size(image) == (2, 3)
    assert (read_image(image) == UPRIGHT).all()
    if end != "webp":
        assert (read_ids(label) == UPRIGHT[..., 0]).all()


def test_a_label_drawn_on_the_picture_as_it_is_stored_is_told(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.jpg", np.zeros((4, 6, 3), np.uint8), exif=exif)
    save(tmp_path / "a.png", np.zeros((4, 6), np.uint8))
    pairs = [Pair("a", tmp_path / "a.jpg", tmp_path / "a.png")]
    data = FileDomainData("Own", "train", pairs, RawClasses({0: "road"}), CITYSCAPES19)
    with pytest.raises(UserError, match=r"a\.png is 6x4 pixels but its image .* is 4x6 \(images are turned upright"):
        data.label(0)


def test_broken_metadata_does_not_spoil_sound_pixels(tmp_path):
    save(tmp_path / "a.png", STEPS, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert read_image(tmp_path / "a.png").tolist() == grey(STEPS) and read_size(tmp_path / "a.png") == (2, 3)


def test_metadata_of_any_size_does_not_matter(tmp_path):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("story", "x" * 3_000_000, zip=True)
    notes.add_itxt("longer", "y" * 70_000_000)
    path = save(tmp_path / "a.png", STEPS, pnginfo=notes, icc_profile=b"z" * 3_000_000)
    with pytest.raises(ValueError):  # Pillow by itself
        Image.open(path).load()
    assert read_image(path).tolist() == grey(STEPS) and read_ids(path).tolist() == STEPS.tolist()


@pytest.mark.parametrize("end", ["gif", "png", "webp", "tif"])
def test_animations_are_refused_and_named(tmp_path, end):
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (0, 100, 200)]
    frames[0].save(tmp_path / f"a.{end}", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=rf"The image .*a\.{end} (holds 3 pictures|is an animation) where one"):
        read_image(tmp_path / f"a.{end}")


def test_a_tiffs_smaller_copies_are_no_pictures_of_their_own(tmp_path):
    copy = Image.fromarray(STEPS[:1, :1])
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(STEPS).save(tmp_path / "a.tif", save_all=True, append_images=[copy])
    with Image.open(tmp_path / "a.tif") as file:
        assert file.n_frames == 2
    assert read_ids(tmp_path / "a.tif").tolist() == STEPS.tolist()


# Labels


@pytest.mark.parametrize("end", ["png", "tif", "bmp"])
def test_one_bit_labels_are_ids_zero_and_one(tmp_path, end):
    ids = read_ids(save(tmp_path / f"a.{end}", np.array([[True, False, True]])))
    assert ids.tolist() == [[1, 0, 1]] and ids.dtype == np.uint8


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_holds_the_stored_numbers(tmp_path, bits):
    numbers = [0, 1, 2, 3] if bits == 2 else [0, 1, 9, 15]
    row = [0b00011011] if bits == 2 else [0x01, 0x9F]
    (tmp_path / "a.png").write_bytes(png([row], bits, 4))
    assert read_ids(tmp_path / "a.png").tolist() == [numbers]
    assert read_image(tmp_path / "a.png").tolist() == grey([[n * 255 // (2**bits - 1) for n in numbers]])


def test_sixteen_bit_labels_are_not_scaled(tmp_path):
    for end in ("png", "tif"):
        assert read_ids(save(tmp_path / f"a.{end}", np.array([[7, 300, 65535]], np.uint16))).tolist() == [
            [7, 300, 65535]
        ]


@pytest.mark.parametrize("end", ["jpg", "webp", "gif", "jpeg.tif"])
def test_labels_in_containers_that_change_ids_are_refused(tmp_path, end):
    path = tmp_path / f"a.{end}"
    Image.fromarray(STEPS).save(path, **({"compression": "jpeg"} if end == "jpeg.tif" else {}))
    path = path.rename(tmp_path / "label.png")  # what a file is called does not matter
    with pytest.raises(UserError, match=r"The label .*label\.png is a (JPEG|WEBP|GIF|TIFF).* Make the labels anew"):
        read_ids(path)
    with pytest.raises(UserError, match=r"label\.png is a "):
        read_red_ids(path)
    assert read_image(path).shape == (2, 3, 3)


@pytest.mark.parametrize("end", ["png", "tif", "bmp"])
def test_lossless_labels_come_back(tmp_path, end):
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (read_ids(save(tmp_path / f"a.{end}", ids)) == ids).all()


def test_colours_are_no_ids_and_three_equal_channels_are_told_apart(tmp_path):
    with pytest.raises(UserError, match=r"a\.png has 3 channels .* looks colour-coded"):
        read_ids(save(tmp_path / "a.png", np.array([[[1, 2, 3]]], np.uint8)))
    with pytest.raises(UserError, match=r"a\.png has 4 channels .* three equal ones\. Save one of them"):
        read_ids(save(tmp_path / "a.png", np.array([[[7, 7, 7, 0]]], np.uint8)))
    with pytest.raises(UserError, match=r"a\.tif holds fractions"):
        read_ids(save(tmp_path / "a.tif", np.array([[1.0]], np.float32)))


def test_an_opaque_alpha_channel_is_no_second_label(tmp_path):
    label = np.array([[[3, 255], [9, 255]]], np.uint8)
    assert read_ids(save(tmp_path / "a.png", label)).tolist() == [[3, 9]]
    label[0, 0, 1] = 0
    with pytest.raises(UserError, match="has 2 channels"):
        read_ids(save(tmp_path / "a.png", label))


def test_ids_in_red_are_read_from_red_and_from_one_channel(tmp_path):
    for array in ([[[7, 1, 2]]], [[[7, 1, 2, 0]]], [[7]]):
        assert read_red_ids(save(tmp_path / "a.png", np.array(array, np.uint8))).tolist() == [[7]]
    assert read_red_ids(save(tmp_path / "a.png", np.array([[True]]))).tolist() == [[1]]


def test_a_bmp_that_pillow_misreads_is_refused(tmp_path):
    picture = Image.fromarray(np.array([[0, 1, 0, 1]], np.uint8))
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(tmp_path / "a.bmp")
    assert np.asarray(Image.open(tmp_path / "a.bmp")).astype(int).tolist() != [[0, 1, 0, 1]]
    with pytest.raises(UserError, match=r"a\.bmp is a BMP with more bits"):
        read_ids(tmp_path / "a.bmp")


# Damage


def damaged(content, end):
    """Files of one kind after an accident; what each error has to hold."""
    yield content[: len(content) // 2], "truncated or damaged"
    yield content[:-20] if end == "png" else content[:40], "truncated or damaged"
    yield b"", "it is empty"
    yield b"version https://git-lfs.github.com/spec/v1\n", "its first bytes are b'version https://git-lfs"


@pytest.mark.parametrize("end", ["png", "jpg", "tif", "webp", "bmp", "gif"])
def test_damage_is_one_paragraph_with_the_files_name(tmp_path, end):
    path = tmp_path / f"ä b.{end}"
    noise = np.random.default_rng(1).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    content = save(path, noise).read_bytes()
    for broken, why in damaged(content, end):
        path.write_bytes(broken)
        with pytest.raises(UserError) as told:
            read_image(path)
        assert str(path) in str(told.value) and why in str(told.value) and "\n" not in str(told.value)


def test_a_png_without_its_end_or_with_a_wrong_checksum_is_damaged(tmp_path):
    content = save(tmp_path / "a.png", STEPS).read_bytes()
    for broken in (content[:-12], content.replace(b"IDAT", b"IDAU"), content[:-14] + b"\0\0" + content[-12:]):
        (tmp_path / "a.png").write_bytes(broken)
        with pytest.raises(UserError, match=r"a\.png cannot be read as an image"):
            read_ids(tmp_path / "a.png")


def test_what_cannot_be_opened_is_told_from_what_is_damaged(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"link\.png is a link to \S+gone\.png, which does not exist"):
        read_image(tmp_path / "link.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"folder\.png cannot be opened \(Is a directory\)"):
        read_image(tmp_path / "folder.png")


def test_errors_of_any_type_become_a_paragraph_but_a_dead_workers_does_not(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", STEPS)
    for kind in (struct.error, SyntaxError, zlib.error, KeyError, MemoryError, AssertionError, RuntimeError):

        def fail(*_, kind=kind, **__):
            raise kind("odd")

        monkeypatch.setattr(Image, "open", fail)
        with pytest.raises(UserError, match=r"a\.png cannot be read as an image \('?odd"):
            read_image(path)
    message = "DataLoader worker (pid 7) is killed by signal: Killed."
    monkeypatch.setattr(Image, "open", lambda *_, **__: (_ for _ in ()).throw(RuntimeError(message)))
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        read_image(path)


def test_a_program_is_never_started_for_a_file(tmp_path):
    """Pillow would hand PostScript to Ghostscript, whatever the file is called."""
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(UserError, match=r"it is no PNG, JPEG, .* of a kind that is known here"):
        read_image(tmp_path / "a.png")


# Fuzz

MODES = ["1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16", "I;16B"]
FORMATS = ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"]
COMPRESSIONS = [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"]


@st.composite
def files(draw):
    """(content, format, mode, pixels) of a picture with random pixels, tags and metadata."""
    mode, kind = draw(st.sampled_from(MODES)), draw(st.sampled_from(FORMATS))
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = {"RGB": 3, "YCbCr": 3, "LAB": 3, "RGBA": 4, "CMYK": 4, "LA": 2, "PA": 2}.get(mode, 1)
    if mode == "1":
        picture = Image.fromarray(random.random((height, width)) < 0.5)
    elif mode == "F":
        picture = Image.fromarray(
            random.random((height, width)).astype(np.float32) * draw(st.sampled_from([1, 1, 300]))
        )
    elif mode in ("I", "I;16", "I;16B"):
        most = 2**16 if mode != "I" else draw(st.sampled_from([2**16, 2**31 - 1]))
        picture = Image.frombytes(
            mode,
            (width, height),
            random.integers(0, most, (height, width))
            .astype({"I": "=i4", "I;16": "<u2", "I;16B": ">u2"}[mode])
            .tobytes(),
        )
    else:
        picture = Image.frombytes(
            mode, (width, height), random.integers(0, 256, (height, width, channels), np.uint8).tobytes()
        )
    if mode in ("P", "PA"):
        picture.putpalette(random.integers(0, 256, 768, np.uint8).tobytes())
    how = {}
    if draw(st.booleans()) and kind != "BMP":
        exif = Image.Exif()
        exif[0x0112] = draw(st.integers(0, 9))
        how["exif"] = exif
    if kind == "TIFF" and (compression := draw(st.sampled_from(COMPRESSIONS))):
        how["compression"] = compression
    if kind == "PNG" and draw(st.booleans()):
        how["pnginfo"] = PngImagePlugin.PngInfo()
        how["pnginfo"].add_text("k", "v" * draw(st.integers(0, 200)), zip=draw(st.booleans()))
    written = BytesIO()
    try:
        picture.save(written, kind, **how)
    except (
        OSError,
        ValueError,
        KeyError,
        SystemError,
        TypeError,
        RuntimeError,
    ):  # a container that cannot hold the mode
        return b"", kind, mode, None, 1
    return written.getvalue(), kind, mode, np.asarray(picture), how.get("exif", {}).get(0x0112, 1)


def taken_or_refused(path):
    """What the three readers give; whatever they refuse names the file, in one paragraph."""
    found = []
    for read in (read_image, read_ids, read_red_ids):
        try:
            array = read(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            found.append(None)
            continue
        found.append(array)
        if read is read_image:
            assert array.dtype == np.uint8 and array.shape[2:] == (3,) and array.shape[:2] == read_size(path)
        else:
            assert array.ndim == 2 and array.dtype.kind in "ui"
    return found


@OFTEN
@given(file=files())
def test_any_picture_gives_its_own_pixels_or_is_refused(tmp_path, file):
    content, kind, mode, pixels, tag = file
    path = tmp_path / "a.png"
    path.write_bytes(content)
    image, ids, _ = taken_or_refused(path)
    if pixels is None or kind not in LABEL_CONTAINERS:
        assert ids is None
    if ids is not None:  # as drawn, turned as the tag says
        assert mode in ("1", "L", "P", "I", "I;16", "I;16B", "LA", "PA")
        first = pixels[..., 0] if pixels.ndim == 3 else pixels
        crosswise = {5: first.T, 6: np.rot90(first, -1), 7: np.rot90(first, 2).T, 8: np.rot90(first, 1)}
        turned = {2: first[:, ::-1], 3: first[::-1, ::-1], 4: first[::-1], **crosswise}.get(tag, first)
        if not (kind == "BMP" and mode == "P"):
            assert (ids == turned).all()
    if image is not None and mode == "RGB" and kind in ("PNG", "BMP"):
        assert sorted(image.reshape(-1, 3).tolist()) == sorted(pixels.reshape(-1, 3).tolist())


@OFTEN
@given(file=files(), cut=st.floats(0, 1), flips=st.lists(st.floats(0, 1, exclude_max=True), max_size=4))
def test_damage_of_any_kind_is_refused_or_harmless(tmp_path, file, cut, flips):
    content, kind, *_ = file
    path = tmp_path / "a.png"
    path.write_bytes(content)
    whole = taken_or_refused(path)
    broken = bytearray(content[: round(cut * len(content))] if not flips else content)
    for flip in flips if broken else ():
        at = int(flip * len(broken) * 8)
        broken[at // 8] ^= 1 << at % 8
    path.write_bytes(bytes(broken))
    for was, now in zip(whole, taken_or_refused(path), strict=True):
        if kind == "PNG" and now is not None:  # it has checksums: a changed pixel is never taken
            assert was is not None and now.tolist() == was.tolist()


@OFTEN
@given(
    content=st.binary(max_size=200),
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"BM", b"RIFF"]),
)
def test_any_bytes_are_refused_in_a_paragraph(tmp_path, content, start):
    path = tmp_path / "a.png"
    path.write_bytes(start + content)
    taken_or_refused(path)


def test_every_container_named_is_one_that_pillow_knows():
    Image.init()
    assert set(CONTAINERS) <= set(Image.OPEN)


def test_the_page_names_every_mode_container_and_ending():
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    named = [*AS_COLORS, *AS_IDS, *SUFFIXES, *IMAGE_ENDINGS, *LABEL_ENDINGS, *NOT_DATA]
    assert [name for name in named if f"`{name}`" not in page] == []
    assert [name for name in CONTAINERS if name not in page.upper()] == []
