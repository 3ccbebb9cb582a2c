import numpy as np
import pytest

from da_toolkit.data.labels import CITYSCAPES19, SYNTHIA16, label_space
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
