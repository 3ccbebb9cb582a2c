"""The field's further data sets: ids against lists written here by hand, exported samples read back, wrong ones."""

import dataclasses
import json
import warnings

import numpy as np
import pytest
from PIL import Image

from da_toolkit.check import check_split
from da_toolkit.data import (
    ACDC,
    BDD100K,
    GTA5,
    IDD,
    KITTI,
    CamVid,
    Cityscapes,
    DarkZurich,
    LabelSpace,
    MapillaryVistas,
    Streets,
    Synscapes,
    UrbanSyn,
    VirtualKITTI2,
)
from da_toolkit.data.export_layouts import LAYOUTS, export_layout
from da_toolkit.data.labels import CAMVID11, CITYSCAPES19
from da_toolkit.data.mapillary_classes import AS_CITYSCAPES, IN_CITYSCAPES, WITHOUT_COUNTERPART
from da_toolkit.data.meeting import meet
from da_toolkit.errors import UserError

# Facts, written down apart from the tables of the package.

_NAMES_12 = """animal--bird animal--ground-animal construction--barrier--curb construction--barrier--fence
construction--barrier--guard-rail construction--barrier--other-barrier construction--barrier--wall
construction--flat--bike-lane construction--flat--crosswalk-plain construction--flat--curb-cut
construction--flat--parking construction--flat--pedestrian-area construction--flat--rail-track
construction--flat--road construction--flat--service-lane construction--flat--sidewalk construction--structure--bridge
construction--structure--building construction--structure--tunnel human--person human--rider--bicyclist
human--rider--motorcyclist human--rider--other-rider marking--crosswalk-zebra marking--general nature--mountain
nature--sand nature--sky nature--snow nature--terrain nature--vegetation nature--water object--banner object--bench
object--bike-rack object--billboard object--catch-basin object--cctv-camera object--fire-hydrant object--junction-box
object--mailbox object--manhole object--phone-booth object--pothole object--street-light object--support--pole
object--support--traffic-sign-frame object--support--utility-pole object--traffic-light object--traffic-sign--back
object--traffic-sign--front object--trash-can object--vehicle--bicycle object--vehicle--boat object--vehicle--bus
object--vehicle--car object--vehicle--caravan object--vehicle--motorcycle object--vehicle--on-rails
object--vehicle--other-vehicle object--vehicle--trailer object--vehicle--truck object--vehicle--wheeled-slow
void--car-mount void--ego-vehicle void--unlabeled"""
MAPILLARY_12 = _NAMES_12.split()
MAPILLARY_12_TO_TRAIN = {
    13: 0, 24: 0, 41: 0, 2: 1, 15: 1, 17: 2, 6: 3, 3: 4, 45: 5, 47: 5, 48: 6, 50: 7, 30: 8, 29: 9, 27: 10, 19: 11,
    20: 12, 21: 12, 22: 12, 55: 13, 61: 14, 54: 15, 58: 16, 57: 17, 52: 18,
}  # fmt: skip
MAPILLARY_20 = {  # ids of version 2.0, of which it has 124
    5: "construction--barrier--fence", 12: "construction--barrier--wall", 21: "construction--flat--road",
    24: "construction--flat--sidewalk", 30: "human--person--individual", 35: "marking--continuous--dashed",
    45: "marking--discrete--crosswalk-zebra", 61: "nature--sky", 85: "object--support--pole",
    92: "object--traffic-light--general-upright", 97: "object--traffic-sign--back",
    100: "object--traffic-sign--front", 108: "object--vehicle--car", 123: "void--unlabeled",
}  # fmt: skip
IDD_LEVEL3_TO_TRAIN = {
    0: 0, 2: 1, 3: 9, 4: 11, 5: 12, 6: 17, 7: 18, 9: 13, 10: 14, 11: 15, 14: 3, 15: 4, 18: 7, 19: 6, 20: 5, 22: 2,
    24: 8, 25: 10,
}  # fmt: skip
IDD_LEVEL4_TO_TRAIN = {
    0: 0, 3: 1, 4: 9, 5: 11, 7: 12, 8: 17, 9: 18, 11: 13, 12: 14, 13: 15, 17: 3, 18: 4, 21: 7, 22: 6, 23: 5, 25: 2,
    27: 8, 28: 10,
}  # fmt: skip
_COLORS_TXT = """Terrain 210 0 200 Sky 90 200 255 Tree 0 199 0 Vegetation 90 240 0 Building 140 140 140
Road 100 60 100
GuardRail 250 100 255 TrafficSign 255 255 0 TrafficLight 200 200 0 Pole 255 130 0 Misc 80 80 80 Truck 160 60 60
Car 255 127 80 Van 0 139 139 Undefined 0 0 0"""
VKITTI_COLORS = _COLORS_TXT.split()
VKITTI_TO_TRAIN = {
    "Terrain": 9, "Sky": 10, "Tree": 8, "Vegetation": 8, "Building": 2, "Road": 0, "TrafficSign": 7,
    "TrafficLight": 6, "Pole": 5, "Truck": 14, "Car": 13, "Van": 13,
}  # fmt: skip


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)
    return path


def pair(root, picture, label, ids):
    """One frame whose label holds the given ids in one row, or colours."""
    ids = np.atleast_2d(np.array(ids)) if np.ndim(ids) < 3 else np.array(ids)
    write(root / picture, np.full((*ids.shape[:2], 3), 90))
    return write(root / label, ids)


def config(root, names, file="config_v1.2.json"):
    root.mkdir(parents=True, exist_ok=True)
    labels = [{"name": name, "readable": name, "evaluate": True, "color": [0, 0, 0]} for name in names]
    (root / file).write_text(json.dumps({"labels": labels, "version": "1.2"}))


def expected(table, count, more=()):
    return [table.get(raw, 255) for raw in (*range(count), *more)]


@pytest.mark.parametrize(("ids", "table", "count"), [
    ("level3Ids", IDD_LEVEL3_TO_TRAIN, 26),
    ("level4Ids", IDD_LEVEL4_TO_TRAIN, 30),
    ("csTrainIds", dict(enumerate(range(19))), 19),
])  # fmt: skip
def test_idds_ids_are_its_label_tables(tmp_path, ids, table, count):
    picture = "leftImg8bit/val/201/frame0029_leftImg8bit.jpg"
    pair(tmp_path, picture, f"gtFine/val/201/frame0029_gtFine_label{ids}.png", [*range(count), 255])
    for other in ("level3Ids", "level4Ids", "csTrainIds", "ids"):  # another kind beside it is left alone
        if other != ids:
            write(tmp_path / f"gtFine/val/201/frame0029_gtFine_label{other}.png", np.full((1, count + 1), 33))
    data = IDD(root=tmp_path, ids=ids).build("val")
    assert data.label(0).ravel().tolist() == expected(table, count, more=[255])
    assert data.key(0) == "201/frame0029_leftImg8bit"


@pytest.mark.parametrize(("ids", "count", "sky"), [("level1Ids", 7, 6), ("level2Ids", 16, 15)])
def test_idds_coarse_levels_are_label_spaces_of_their_own(tmp_path, ids, count, sky):
    name = f"gtFine/train/1/000_gtFine_label{ids}.png"
    pair(tmp_path, "leftImg8bit/train/1/000_leftImg8bit.png", name, [*range(count), 255])
    domain = IDD(root=tmp_path, ids=ids)
    assert domain.label_space.index("sky") == sky and len(domain.label_space) == count
    assert domain.build("train").label(0).ravel().tolist() == [*range(count), 255]


def test_idds_autorickshaw_can_be_trained_by_its_name(tmp_path):
    name = "gtFine/train/1/000_gtFine_labellevel3Ids.png"
    pair(tmp_path, "leftImg8bit/train/1/000_leftImg8bit.png", name, [0, 8, 9])
    space = LabelSpace("mine", ("road", "vehicle"), includes=(("autorickshaw", "vehicle"), ("car", "vehicle")))
    assert IDD(root=tmp_path, labels=space).build("train").label(0).ravel().tolist() == [0, 1, 1]


@pytest.mark.parametrize("older", [False, True])
def test_mapillary_12_maps_as_the_field_does(tmp_path, older):
    config(tmp_path, MAPILLARY_12, "config.json" if older else "config_v1.2.json")
    label = "validation/labels/x.png" if older else "validation/v1.2/labels/x.png"
    pair(tmp_path, "validation/images/x.jpg", label, range(66))
    if not older:
        write(tmp_path / "validation/v2.0/labels/x.png", np.full((1, 66), 21))
    data = MapillaryVistas(root=tmp_path).build("val")
    assert data.label(0).ravel().tolist() == expected(MAPILLARY_12_TO_TRAIN, 66)


def test_mapillary_20_reads_its_own_config(tmp_path):
    names = [MAPILLARY_20.get(raw, f"void--number-{raw}") for raw in range(124)]
    config(tmp_path, names, "config_v2.0.json")
    pair(tmp_path, "training/images/x.jpg", "training/v2.0/labels/x.png", sorted(MAPILLARY_20))
    with pytest.warns(UserWarning, match="has 110 classes that are not known here and are ignored"):
        data = MapillaryVistas(root=tmp_path, version="2.0").build("train")
    assert data.label(0).ravel().tolist() == [4, 3, 0, 1, 11, 0, 255, 10, 5, 6, 255, 7, 13, 255]


def test_mapillarys_order_is_the_configs_not_ours(tmp_path):
    config(tmp_path, ["nature--sky", "construction--flat--road"])
    pair(tmp_path, "training/images/x.jpg", "training/v1.2/labels/x.png", [0, 1])
    assert MapillaryVistas(root=tmp_path).build("train").label(0).ravel().tolist() == [10, 0]


def test_every_name_of_mapillary_12_is_known_once():
    ours = [*IN_CITYSCAPES, *WITHOUT_COUNTERPART]
    assert set(MAPILLARY_12) <= set(ours) and len(ours) == len(set(ours))
    assert list(AS_CITYSCAPES) == list(CITYSCAPES19.classes)
    assert set(MAPILLARY_20.values()) <= set(ours)


def test_mapillarys_own_names_go_before_their_counterparts(tmp_path):
    config(tmp_path, MAPILLARY_12)
    pair(tmp_path, "training/images/x.jpg", "training/v1.2/labels/x.png", [2, 13, 15, 7])
    includes = (("construction--barrier--curb", "edge"), ("construction--flat--bike-lane", "road"))
    space = LabelSpace("mine", ("road", "sidewalk", "edge"), includes=includes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        domain, _ = meet(MapillaryVistas(root=tmp_path, labels=space), Cityscapes(labels=space))
        assert domain.build("train").label(0).ravel().tolist() == [2, 0, 1, 0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"has no config_v1\.2\.json or config\.json, which says what the ids of version 1\.2 mean"),
        ("", r"config_v1\.2\.json cannot be used \(JSONDecodeError"),
        ("[]", r"cannot be used \(TypeError"),
        ('{"classes": []}', r"cannot be used \(KeyError"),
        ('{"labels": []}', r"no list of 1 to 256 named classes"),
        ('{"labels": [{"name": 3}]}', r"no list of 1 to 256 named classes"),
    ],
)
def test_a_config_that_says_nothing_is_told(tmp_path, content, told):
    pair(tmp_path, "training/images/x.jpg", "training/v1.2/labels/x.png", [0])
    if content is not None:
        (tmp_path / "config_v1.2.json").write_text(content)
    with pytest.raises(UserError, match=told) as error:
        MapillaryVistas(root=tmp_path).build("train")
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_virtual_kitti_reads_colours(tmp_path):
    names, values = VKITTI_COLORS[::4], np.array([v for i, v in enumerate(VKITTI_COLORS) if i % 4], int).reshape(-1, 3)
    place = "Scene06/fog/frames"
    picture, label = f"{place}/rgb/Camera_1/rgb_00000.jpg", f"{place}/classSegmentation/Camera_1/classgt_00000.png"
    pair(tmp_path, picture, label, values[None])
    domain = VirtualKITTI2(root=tmp_path, scenes=("Scene06",), conditions=("fog",), cameras=("Camera_1",))
    data = domain.build("train")
    assert data.label(0).ravel().tolist() == [VKITTI_TO_TRAIN.get(name, 255) for name in names]
    assert data.key(0) == "Scene06/fog/Camera_1/rgb_00000"
    palette = Image.fromarray(values[None].astype(np.uint8)).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / label)
    assert data.label(0).ravel().tolist() == [VKITTI_TO_TRAIN.get(name, 255) for name in names]


def test_virtual_kitti_tells_what_is_no_class_segmentation(tmp_path):
    place = "Scene01/clone/frames"
    picture, label = f"{place}/rgb/Camera_0/rgb_00001.jpg", f"{place}/classSegmentation/Camera_0/classgt_00001.png"
    pair(tmp_path, picture, label, [[[210, 0, 200], [210, 0, 201], [1, 2, 3]]])
    data = VirtualKITTI2(root=tmp_path, scenes=("Scene01",)).build("train")
    with pytest.raises(
        UserError, match=r"2 colours that mean nothing in VirtualKITTI2, such as \(1, 2, 3\), \(210, 0, 20"
    ):
        data.label(0)
    write(tmp_path / label, [[1, 2, 3]])
    with pytest.raises(UserError, match="has pixels of the kind L of 8 bits, where 8-bit colours that mean"):
        data.label(0)
    Image.fromarray(np.zeros((1, 3, 3), np.uint8)).save(tmp_path / label, format="JPEG")
    with pytest.raises(UserError, match="is a JPEG, which does not keep class ids"):
        data.label(0)


def test_kitti_holds_its_last_frames_out_and_leaves_their_successors_alone(tmp_path):
    for number in range(6):
        for after in (10, 11):
            write(tmp_path / f"training/image_2/{number:06d}_{after}.png", np.zeros((1, 2, 3)))
        write(tmp_path / f"training/semantic/{number:06d}_10.png", [[7, 26]])
    write(tmp_path / "testing/image_2/000000_10.png", np.zeros((1, 2, 3)))
    domain = KITTI(root=tmp_path, held_out=2)
    splits = {split: domain.build(split) for split in ("train", "val", "test")}
    assert [splits["train"].key(i) for i in range(4)] == [f"00000{i}_10" for i in range(4)]
    assert [splits["val"].key(i) for i in range(2)] == ["000004_10", "000005_10"]
    assert splits["val"].label(1).tolist() == [[0, 13]] and not splits["test"].has_labels
    for wrong in (0, 6, 50):
        with pytest.raises(UserError, match=rf"KITTI: `held_out` is {wrong}, .* must be between 1 and 5"):
            KITTI(root=tmp_path, held_out=wrong).build("train")


def test_acdc_takes_the_conditions_that_are_asked_for(tmp_path):
    for condition, raw in (("fog", 7), ("night", 26)):
        for split in ("train", "val"):
            frame = f"{condition}/{split}/GOPR0475/GOPR0475_frame_000041"
            pair(tmp_path, f"rgb_anon/{frame}_rgb_anon.png", f"gt/{frame}_gt_labelIds.png", [raw, 0])
            write(tmp_path / f"gt/{frame}_gt_labelTrainIds.png", [[1, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = ACDC(root=tmp_path, conditions=("night", "fog")).build("val")
    assert [data.key(i) for i in range(2)] == [f"{c}/val/GOPR0475/GOPR0475_frame_000041" for c in ("night", "fog")]
    assert [data.label(i).tolist() for i in range(2)] == [[[13, 255]], [[0, 255]]]
    with pytest.raises(UserError, match=r"ACDC rain/val: the folder \S+rgb_anon/rain/val does not exist"):
        ACDC(root=tmp_path).build("val")
    with pytest.raises(UserError, match=r"Unknown name in ACDC: `conditions` 'snwo'\. Did you mean 'snow'\?"):
        ACDC(conditions=("snwo",))
    for wrong in ((), ("fog", "fog")):
        with pytest.raises(UserError, match="name at least one of fog, night, rain, snow, and each once"):
            ACDC(conditions=wrong)


def test_dark_zurich_trains_on_unlabelled_times_and_is_scored_at_night(tmp_path):
    for place in ("train/night/GOPR0351", "train/day/GOPR0351", "val/night/GOPR0356", "test/night/GP010594"):
        write(tmp_path / f"rgb_anon/{place}/f_frame_000001_rgb_anon.png", np.zeros((1, 2, 3)))
    write(tmp_path / "gt/val/night/GOPR0356/f_frame_000001_gt_labelIds.png", [[23, 7]])
    domain = DarkZurich(root=tmp_path, times=("day", "night"))
    train, val, test = (domain.build(split) for split in ("train", "val", "test"))
    assert len(train) == 2 and not train.has_labels and "the folder of the labels" in train.unlabelled
    assert val.label(0).tolist() == [[10, 0]] and not test.has_labels


@pytest.mark.parametrize("layout", [
    ("bdd100k/images/10k/{}/a.jpg", "bdd100k/labels/sem_seg/masks/{}/a.png"),
    ("bdd100k/seg/images/{}/a.jpg", "bdd100k/seg/labels/{}/a_train_id.png"),
])  # fmt: skip
def test_bdd100k_is_read_in_both_of_its_layouts(tmp_path, layout):
    picture, label = (pattern.format("val") for pattern in layout)
    pair(tmp_path, picture, label, [*range(19), 255])
    write(tmp_path / layout[0].format("test"), np.zeros((1, 2, 3)))
    assert BDD100K().build("val", tmp_path).label(0).ravel().tolist() == [*range(19), 255]
    assert not BDD100K().build("test", tmp_path).has_labels


def test_ids_of_another_kind_are_told_for_what_they_are(tmp_path):
    picture, label = "images/10k/train/a.png", "labels/sem_seg/masks/train/a.png"
    pair(tmp_path, picture, label, [7, 26, 23, 11])
    data = BDD100K(root=tmp_path).build("train")
    with pytest.raises(
        UserError, match=r"holds id 23, 26, which BDD100K .* Cityscapes' label ids, where train ids are ex"
    ):
        data.label(0)
    Image.fromarray(np.array([[26001, 7, 7, 7]], np.uint16)).save(tmp_path / label)
    with pytest.raises(UserError, match=r"holds id 26001, .* Ids beyond 255 are instances' numbers"):
        data.label(0)
    write(tmp_path / label, np.zeros((1, 4, 3)))
    with pytest.raises(UserError, match="has 3 channels where one channel of class ids is expected"):
        data.label(0)
    config(tmp_path / "m", MAPILLARY_12)
    pair(tmp_path / "m", "training/images/x.jpg", "training/v1.2/labels/x.png", [13, 123])
    with pytest.raises(UserError, match=r"holds id 123, which MapillaryVistas-1\.2 does not define"):
        MapillaryVistas(root=tmp_path / "m").build("train").label(0)


@pytest.mark.parametrize(("domain", "picture", "label", "ids", "kind"), [
    (BDD100K, "images/10k/train/{}.png", "labels/sem_seg/masks/train/{}.png", [7, 26, 23, 11], "label_ids"),
    (UrbanSyn, "rgb/rgb_{}.png", "ss/ss_{}.png", [7, 26, 23, 11], "label_ids"),
    (Synscapes, "img/rgb/{}.png", "img/class/{}.png", [0, 1, 2, 13], "train_ids"),
    (ACDC, "rgb_anon/fog/train/{}_rgb_anon.png", "gt/fog/train/{}_gt_labelIds.png", [0, 1, 2, 13], "train_ids"),
])  # fmt: skip
def test_prepare_check_tells_train_ids_from_label_ids(tmp_path, domain, picture, label, ids, kind):
    for number in range(3):
        pair(tmp_path, picture.format(number), label.format(number), [ids] * 4)
    settings = {"conditions": ("fog",)} if domain is ACDC else {}
    report = check_split(domain(root=tmp_path, **settings).build("train"), with_labels=True)
    assert kind in [finding.kind for finding in report.findings if finding.level == "problem"], report.lines()


EXPORTED = [
    ("BDD100K", BDD100K(), ()),
    ("MapillaryVistas", MapillaryVistas(), ()),
    ("IDD-level4Ids", IDD(ids="level4Ids"), ("train",)),
    ("IDD-level3Ids", IDD(), ("train",)),
    ("IDD-csTrainIds", IDD(ids="csTrainIds"), ()),
    *((f"ACDC-{name}", ACDC(conditions=(name,)), ()) for name in ("fog", "night", "rain", "snow")),
    ("DarkZurich", DarkZurich(), ()),
    ("KITTI", KITTI(held_out=1), ()),
    ("UrbanSyn", UrbanSyn(), ()),
    ("Synscapes", Synscapes(), ()),
    ("VirtualKITTI2", VirtualKITTI2(scenes=("Scene01",)), (
        "sidewalk", "wall", "fence", "person", "rider", "bus", "train", "motorcycle", "bicycle",
    )),
]  # fmt: skip


@pytest.fixture(scope="module")
def streets():
    return Streets(frames=3, render_size=(64, 96)).build("train")


def test_every_layout_is_tried():
    assert [name for name, _, _ in EXPORTED] == list(LAYOUTS)


@pytest.mark.parametrize(("layout", "domain", "lost"), EXPORTED, ids=[name for name, _, _ in EXPORTED])
def test_exported_samples_are_read_back(tmp_path, streets, layout, domain, lost):
    export_layout(streets, layout, tmp_path, "train")
    data = dataclasses.replace(domain, root=tmp_path).build("train")
    table = np.arange(256, dtype=np.uint8)
    table[[CITYSCAPES19.index(name) for name in lost]] = 255
    assert data.has_labels and len(data) == (2 if layout == "KITTI" else 3)
    for index in range(len(data)):
        assert (data.label(index) == table[streets.label(index)]).all()
        lossy = data.pairs[index].image.suffix == ".jpg"
        assert abs(data.image(index).astype(int) - streets.image(index)).mean() <= (6 if lossy else 0)


def test_an_unknown_layout_is_told(tmp_path, streets):
    with pytest.raises(UserError, match=r"Unknown layout 'KITI'\. Did you mean 'KITTI'\?"):
        export_layout(streets, "KITI", tmp_path, "train")


def test_settings_of_several_names_come_back_from_json_and_the_command_line(tiny_recipe):
    import json

    import tyro

    from da_toolkit.methods import SourceOnly
    from da_toolkit.recipe import Recipe

    source, target = VirtualKITTI2(conditions=("fog", "rain")), ACDC(conditions=("night",))
    recipe = tiny_recipe(SourceOnly(), source=source, target=target)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe and again.source.conditions == ("fog", "rain")
    words = ["--conditions", "snow", "fog", "--size", "32", "64"]
    assert tyro.cli(ACDC, args=words) == ACDC(conditions=("snow", "fog"), size=(32, 64))


ALL = [BDD100K(), MapillaryVistas(), IDD(), ACDC(), DarkZurich(), KITTI(), UrbanSyn(), Synscapes(), VirtualKITTI2()]


@pytest.mark.parametrize("domain", ALL, ids=lambda domain: type(domain).__name__)
def test_each_meets_cityscapes_and_camvid(domain):
    assert meet(GTA5(), domain)[1] == domain
    both = [
        meet(GTA5(labels="camvid11"), domain.in_space("camvid11"))[1],
        meet(domain.in_space("camvid11"), CamVid())[0],
    ]
    assert all(met.label_space == CAMVID11 for met in both)


@pytest.mark.parametrize("domain", ALL, ids=lambda domain: type(domain).__name__)
def test_each_tells_a_missing_folder_and_an_unknown_split(tmp_path, domain):
    with pytest.raises(UserError, match=f"{type(domain).__name__}: the folder .*{domain.folder} does not exist"):
        domain.build("train", tmp_path)
    (tmp_path / domain.folder).mkdir()
    with pytest.raises(UserError, match=type(domain).__name__) as told:
        domain.build("trian", tmp_path)
    assert "train" in str(told.value)
    with pytest.raises(UserError, match=str(tmp_path)):
        domain.build("train", tmp_path)


@pytest.mark.parametrize(("make", "told"), [
    (lambda: IDD(ids="level5Ids"), "Unknown IDD `ids` 'level5Ids'"),
    (lambda: MapillaryVistas(version="1.1"), "Unknown MapillaryVistas `version` '1.1'"),
    (lambda: VirtualKITTI2(scenes=("Scene03",)), "Unknown name in VirtualKITTI2: `scenes` 'Scene03'"),
    (lambda: VirtualKITTI2(conditions="clone"), r"`conditions` is 'clone': write a tuple of names"),
    (lambda: VirtualKITTI2(cameras=()), "name at least one of Camera_0, Camera_1"),
    (lambda: DarkZurich(times=("noon",)), "Unknown name in DarkZurich: `times` 'noon'"),
])  # fmt: skip
def test_settings_that_name_nothing_are_told(make, told):
    with pytest.raises(UserError, match=told):
        make()
