"""Loaders against files written here by hand, independently of the exporters."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from da_toolkit.data import GTA5, CamVid, Carla, Cityscapes, CityscapesSmall, Folder, Synthia
from da_toolkit.data.carla import sky_of
from da_toolkit.data.labels import CAMVID11, CITYSCAPES19, SYNTHIA16
from da_toolkit.errors import UserError

REAL = Path(__file__).parents[3] / "shared" / "data" / "carla2camvid"


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)


def rgb(height, width):
    return np.arange(height * width * 3).reshape(height, width, 3) % 251


def gta(root, name="00001", ids=((7, 8), (26, 34))):
    write(root / "images" / f"{name}.png", rgb(2, 2))
    picture = Image.fromarray(np.array(ids, dtype=np.uint8))
    picture.putpalette(bytes(range(256)) * 3)  # colours that are not the ids: only the index is right
    (root / "labels").mkdir(exist_ok=True)
    picture.save(root / "labels" / f"{name}.png")


def test_gta5_reads_the_palette_index_not_its_colour(tmp_path):
    gta(tmp_path / "GTA5")
    data = GTA5().build("train", tmp_path)
    assert data.label(0).tolist() == [[0, 1], [13, 255]]
    assert data.image(0).tolist() == rgb(2, 2).tolist()
    assert data.key(0) == "00001"


def test_gta5_skips_the_unusable_frames_with_a_warning(tmp_path):
    gta(tmp_path, "15188")
    gta(tmp_path, "17704")
    with pytest.warns(UserWarning, match=r"skipping 15188\.png"):
        data = GTA5(root=tmp_path).build("train")
    assert [data.key(i) for i in range(len(data))] == ["17704"]


def test_gta5_resizes_the_labels_known_to_differ(tmp_path):
    gta(tmp_path, "20805", ids=[[7, 8, 8, 7]] * 4)
    with pytest.warns(UserWarning, match="20801-20860"):
        data = GTA5(root=tmp_path).build("train")
    stored = Image.fromarray(np.array([[7, 8, 8, 7]] * 4, np.uint8))
    expected = np.asarray(
        stored.resize((2, 2), Image.Resampling.NEAREST)
    )  # of the pixels' centres, as Pillow takes them
    assert data.label(0).tolist() == (expected - 7).tolist()


def test_gta5_in_sixteen_classes(tmp_path):
    gta(tmp_path, ids=((22, 27), (24, 23)))  # terrain, truck, person, sky
    label = GTA5(root=tmp_path, labels="synthia16").build("train").label(0)
    assert label.tolist() == [[255, 255], [SYNTHIA16.index("person"), SYNTHIA16.index("sky")]]


def test_synthia_reads_the_class_from_sixteen_bit_red(tmp_path):
    write(tmp_path / "RGB" / "0000000.png", rgb(2, 3))
    stored = np.zeros((2, 3, 3), np.uint16)
    stored[..., 2] = [[3, 4, 1], [16, 0, 22]]  # OpenCV writes BGR: channel 2 is red
    stored[..., 1] = 40000  # instance numbers beyond 8 bits
    (tmp_path / "GT" / "LABELS").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "GT" / "LABELS" / "0000000.png"), stored)
    data = Synthia(root=tmp_path).build("train")
    expected = [SYNTHIA16.index(name) for name in ("road", "sidewalk", "sky")]
    assert data.label(0).tolist() == [expected, [255, 255, 255]]
    assert Synthia(root=tmp_path, labels="cityscapes19").build("train").label(0)[1].tolist() == [9, 255, 255]


def test_cityscapes_pairs_by_city_and_leaves_test_unlabelled(tmp_path):
    ids = np.arange(34, dtype=np.uint8).reshape(2, 17)
    for split in ("val", "test"):
        write(tmp_path / f"leftImg8bit/{split}/ulm/ulm_000001_000019_leftImg8bit.png", rgb(2, 17))
    write(tmp_path / "gtFine/val/ulm/ulm_000001_000019_gtFine_labelIds.png", ids)
    data = Cityscapes(root=tmp_path).build("val")
    official = {
        7: 0,
        8: 1,
        11: 2,
        12: 3,
        13: 4,
        17: 5,
        19: 6,
        20: 7,
        21: 8,
        22: 9,
        23: 10,
        24: 11,
        25: 12,
        26: 13,
    }
    official |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    assert data.label(0).ravel().tolist() == [official.get(raw, 255) for raw in range(34)]
    assert data.key(0) == "ulm_000001_000019"
    assert not Cityscapes(root=tmp_path).build("test").has_labels


def test_our_cityscapes_table_is_the_official_one():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels")
    from da_toolkit.data.encodings import CITYSCAPES_ID_TO_TRAIN

    official = {label.id: label for label in labels.labels if 0 <= label.trainId < 255}
    assert {raw: label.trainId for raw, label in official.items()} == CITYSCAPES_ID_TO_TRAIN
    for label in official.values():
        assert CITYSCAPES19.classes[label.trainId] == label.name
        assert CITYSCAPES19.palette[label.trainId] == label.color


def test_camvid_ids_are_train_ids_and_eleven_is_ignored(tmp_path):
    write(tmp_path / "val" / "a.png", rgb(3, 4))
    write(tmp_path / "valannot" / "a.png", np.arange(12).reshape(3, 4))
    label = CamVid(root=tmp_path).build("val").label(0)
    assert label.ravel().tolist() == [*range(11), 255]


def slow_sky(ids):
    """Flood fill from the top row, one pixel at a time."""
    height, width = ids.shape
    sky = np.zeros(ids.shape, bool)
    stack = [(0, x) for x in range(width) if ids[0, x] == 0]
    while stack:
        y, x = stack.pop()
        if 0 <= y < height and 0 <= x < width and ids[y, x] == 0 and not sky[y, x]:
            sky[y, x] = True
            stack += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return sky


@pytest.mark.parametrize("seed", range(5))
def test_sky_rule_equals_a_flood_fill(seed):
    ids = (np.random.default_rng(seed).random((17, 23)) < 0.45).astype(np.uint8)
    assert (sky_of(ids) == slow_sky(ids)).all()


def test_carla_maps_classes_and_cuts_the_bonnet(tmp_path):
    ids = np.full((100, 4), 7, np.uint8)
    ids[:10] = 0  # sky
    ids[40:50, 1] = 0  # a hole in the road: ignored
    ids[20:30, 2] = [1] * 5 + [11] * 5
    ids[83:] = 10
    write(tmp_path / "CameraRGB" / "f.jpg", rgb(100, 4))
    write(tmp_path / "CameraSeg" / "f.png", ids)
    data = Carla(root=tmp_path).build("train")
    label = data.label(0)
    assert label.shape == (83, 4) and data.image(0).shape == (83, 4, 3)
    assert (label[:10] == CAMVID11.index("sky")).all()
    assert (label[40:50, 1] == 255).all()
    assert (label[20:30, 2] == CAMVID11.index("building")).all()
    assert CAMVID11.index("car") not in label


def test_folder_with_a_label_table(tmp_path):
    write(tmp_path / "train/images/x.png", rgb(1, 3))
    write(tmp_path / "train/labels/x.png", [[9, 4, 0]])
    table = tmp_path / "mine.json"
    table.write_text(json.dumps({"classes": ["soil", "crop"], "ids": {"9": "crop", "4": "soil", "0": None}}))
    domain = Folder(root=tmp_path, table=table)
    assert domain.label_space.classes == ("soil", "crop")
    assert domain.build("train").label(0).tolist() == [[1, 0, 255]]


def test_paths_may_be_written_as_strings(tmp_path):
    table = tmp_path / "table.json"
    table.write_text('{"classes": ["road"], "ids": {"7": "road"}}')
    assert Folder(root=str(tmp_path), table=str(table)) == Folder(root=tmp_path, table=table)


def test_folder_without_labels_is_an_unlabelled_target(tmp_path):
    write(tmp_path / "train/images/x.png", rgb(1, 3))
    assert not Folder(root=tmp_path).build("train").has_labels
    with pytest.raises(UserError, match="Folder: set `root`, its folder; --data-root is not looked at"):
        Folder().build("train", tmp_path)
    with pytest.raises(UserError, match=r"no folder \S+/val/images\. Put the val images there"):
        Folder(root=tmp_path).build("val")
    with pytest.raises(UserError, match=r"nowhere does not exist\. Set `root` to the one with train/images"):
        Folder(root=tmp_path / "nowhere").build("train", tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pair CARLA/CamVid (shared/data) is not on this machine")
def test_the_real_pair():
    carla = Carla().build("train", REAL)
    camvid = {split: CamVid().build(split, REAL) for split in ("train", "val")}
    assert (len(carla), len(camvid["train"]), len(camvid["val"])) == (479, 367, 101)
    for data in (carla, *camvid.values()):
        label = data.label(0)
        assert label.shape == data.image(0).shape[:2]
        assert set(np.unique(label)) <= {*range(11), 255}
    label = carla.label(0)
    assert (label[0] == CAMVID11.index("sky")).mean() > 0.5 and label.shape == (298, 480)


@pytest.mark.parametrize(("size", "rows"), [((298, 480), (0, 298)), ((128, 256), (58, 298)), ((300, 300), (0, 298))])
def test_carla_keeps_the_lowest_rows_of_a_wider_picture(size, rows, tmp_path):
    ids = np.full((360, 480), 7, np.uint8)
    ids[:100] = 0
    image = np.repeat(np.arange(360, dtype=np.uint8)[:, None], 480, 1)
    write(tmp_path / "CameraRGB" / "f.png", np.stack([image] * 3, 2))
    write(tmp_path / "CameraSeg" / "f.png", ids)
    data = Carla(root=tmp_path, size=size).build("train")
    expected = np.arange(*rows, dtype=np.uint8)
    assert data.image(0)[:, 0, 0].tolist() == expected.tolist()
    assert (data.label(0)[:, 0] == CAMVID11.index("sky")).tolist() == [row < 100 for row in range(*rows)]


def test_small_cityscapes_is_read_in_the_classes_of_the_streets(tmp_path):
    ids = np.array([[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [12, 13, 14, 15, 16, 255]], np.uint8)
    for split in ("train", "val"):
        write(tmp_path / split / "images" / "0001.jpg", rgb(3, 6))
        write(tmp_path / split / "labels" / "0001.png", ids)
    domain = CityscapesSmall(root=tmp_path)
    names = [
        None if number == 255 else domain.label_space.classes[number] for number in domain.build("val").label(0).ravel()
    ]
    assert names == [
        *("road", "sidewalk", "building", "wall", "fence", "pole", None, "sign", "vegetation", "vegetation", "sky"),
        *("person", "person", "vehicle", "vehicle", "vehicle", "vehicle", None),
    ]
    assert domain.build("train").has_labels and domain.size == (128, 256)
    (tmp_path / "val" / "labels" / "0001.png").unlink()
    with pytest.raises(UserError, match="CityscapesSmall val"):
        domain.build("val").label(0)
    with pytest.raises(UserError, match="split of CityscapesSmall"):
        domain.build("trian")
