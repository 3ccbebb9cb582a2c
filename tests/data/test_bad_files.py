"""Each user's mistake is one paragraph that names the file and the remedy."""

import cv2
import numpy as np
import pytest
from PIL import Image

from da_toolkit.data import GTA5, CamVid, Carla, Cityscapes, Folder, Streets, Synthia
from da_toolkit.errors import UserError


@pytest.fixture
def camvid(tmp_path):
    """A good pair of frames; tests then break it."""
    for folder, array in (("val", np.full((4, 6, 3), 9)), ("valannot", np.full((4, 6), 3))):
        (tmp_path / "camvid" / folder).mkdir(parents=True)
        for name in "ab":
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / "camvid" / folder / f"{name}.png")
    return tmp_path / "camvid"


def test_missing_root_names_the_folder_and_the_setting(tmp_path):
    with pytest.raises(UserError, match=r"cityscapes does not exist.*--data-root"):
        Cityscapes().build("train", tmp_path)
    with pytest.raises(UserError, match="no data folder is set"):
        GTA5().build("train")


def test_empty_folder(tmp_path):
    (tmp_path / "GTA5" / "images").mkdir(parents=True)
    with pytest.raises(UserError, match=r"GTA5.images holds no images"):
        GTA5().build("train", tmp_path)


def test_image_without_label(camvid):
    (camvid / "valannot" / "b.png").unlink()
    with pytest.raises(UserError, match=r"1 of 2 images have no label.*valannot.b\.png"):
        CamVid(root=camvid).build("val")


def test_label_of_another_size(camvid):
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(camvid / "valannot" / "b.png")
    data = CamVid(root=camvid).build("val")
    assert (data.label(0) == 3).all()
    with pytest.raises(UserError, match=r"b\.png is 6x5 pixels but its image .* is 6x4"):
        data.label(1)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_image(camvid, suffix):
    file = camvid / "val" / f"c.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    Image.fromarray(np.zeros((60, 60), np.uint8)).save(camvid / "valannot" / "c.png")
    with pytest.raises(UserError, match=rf"c\.{suffix} cannot be read as an image.*Copy it again"):
        CamVid(root=camvid).build("val").image(2)


def test_label_id_outside_the_table(camvid):
    Image.fromarray(np.full((4, 6), 77, np.uint8)).save(camvid / "valannot" / "a.png")
    with pytest.raises(UserError, match=r"a\.png holds id 77, which CamVid does not define"):
        CamVid(root=camvid).build("val").label(0)


def test_colour_coded_label(camvid):
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(camvid / "valannot" / "a.png")
    with pytest.raises(UserError, match="3 channels where one channel of class ids"):
        CamVid(root=camvid).build("val").label(0)


def test_eight_bit_where_sixteen_are_expected(tmp_path):
    for folder in ("RGB", "GT/LABELS"):
        (tmp_path / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / "0.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r"0\.png is uint8 .* 16-bit"):
        Synthia(root=tmp_path).build("train").label(0)


def test_unknown_split_and_look():
    with pytest.raises(UserError, match="Did you mean 'val'"):
        CamVid(root=".").build("vall")
    with pytest.raises(UserError, match="Did you mean 'camera'"):
        Streets(look="camra")


def test_label_tables_that_cannot_be_used(tmp_path):
    for text in (
        "{",
        "[]",
        '{"ids": {"x": "road"}}',
        '{"ids": {"1": "rode"}}',
        '{"classes": ["a"], "ids": {"-1": "a"}}',
    ):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(UserError, match=r"t\.json"):
            Folder(table=tmp_path / "t.json")


def test_full_disk_while_rendering(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("DA_TOOLKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match=r"no space is left.*DA_TOOLKIT_CACHE"):
        Streets(frames=1, render_size=(32, 64)).build("train")
    assert not list(tmp_path.rglob("*.tmp"))


def test_wrong_sizes_and_label_spaces():
    with pytest.raises(UserError, match="size is"):
        GTA5(size=(0, 10))
    with pytest.raises(UserError, match="Did you mean 'cityscapes19'"):
        Carla(labels="cityscape19")
