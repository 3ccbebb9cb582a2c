import numpy as np
import pytest

from da_toolkit.data.encodings import CAMVID_IDS, CARLA_IDS, CITYSCAPES_IDS, lookup_table
from da_toolkit.data.labels import CAMVID11, CITYSCAPES7, CITYSCAPES19, STREETS11, SYNTHIA16, label_space
from da_toolkit.errors import UserError


def test_synthia_has_the_sixteen_classes_in_cityscapes_order():
    dropped = {"terrain", "truck", "train"}
    assert [c for c in CITYSCAPES19.classes if c not in dropped] == list(SYNTHIA16.classes)


def test_table_maps_by_name_and_ignores_what_is_missing():
    table = SYNTHIA16.table_from(CITYSCAPES19)
    for train_id, name in enumerate(CITYSCAPES19.classes):
        expected = SYNTHIA16.classes.index(name) if name in SYNTHIA16.classes else 255
        assert table[train_id] == expected
    assert (table[19:] == 255).all()


def test_colorize_paints_classes_and_blackens_ignored_pixels():
    picture = CITYSCAPES19.colorize(np.array([[0, 255]], dtype=np.uint8))
    assert picture.tolist() == [[[128, 64, 128], [0, 0, 0]]]


def test_unknown_names_list_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'cityscapes19'"):
        label_space("cityscape19")
    with pytest.raises(UserError, match="Did you mean 'road'"):
        CITYSCAPES19.index("roads")


def test_the_categories_are_the_official_ones():
    official = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    table, _ = lookup_table(CITYSCAPES_IDS, CITYSCAPES7)
    for label in official:
        if label.id >= 0:
            expected = 255 if label.ignoreInEval else CITYSCAPES7.index(label.category)
            assert table[label.id] == expected, label.name


def test_streets11_on_either_side():
    given = {  # shared/data/carla2cityscapes/README.md: class -> CARLA ids, Cityscapes train ids
        "road": ([6, 7], [0]),
        "sidewalk": ([8], [1]),
        "building": ([1], [2]),
        "wall": ([11], [3]),
        "fence": ([2], [4]),
        "pole": ([5], [5]),
        "sign": ([12], [7]),
        "vegetation": ([9], [8, 9]),
        "sky": ([], [10]),
        "person": ([4], [11, 12]),
        "vehicle": ([10], [13, 14, 15, 16]),
    }
    carla, _ = lookup_table(CARLA_IDS, STREETS11)
    cityscapes = STREETS11.table_from(CITYSCAPES19)
    assert tuple(given) == STREETS11.classes
    for number, (raw, train) in enumerate(given.values()):
        assert np.flatnonzero(carla == number).tolist() == raw
        assert np.flatnonzero(cityscapes == number).tolist() == train


def test_camvids_names_are_known_to_the_cityscapes_spaces_and_the_other_way_round():
    table, _ = lookup_table(CAMVID_IDS, CITYSCAPES19)
    assert [CITYSCAPES19.classes[number] for number in table[:11]] == [
        *(
            "sky",
            "building",
            "pole",
            "road",
            "sidewalk",
            "vegetation",
            "traffic sign",
            "fence",
            "car",
            "person",
            "rider",
        ),
    ]
    assert CAMVID11.reached(CITYSCAPES19.classes) == CAMVID11.classes
    assert CAMVID11.place("terrain") is None
