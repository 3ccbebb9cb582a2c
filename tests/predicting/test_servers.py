"""What test servers take, against the benchmarks' own words."""

import numpy as np
import pytest

from da_toolkit.data.labels import CAMVID11, CITYSCAPES7, CITYSCAPES19, SYNTHIA16
from da_toolkit.errors import UserError
from da_toolkit.predicting.servers import SERVERS


def test_cityscapes_takes_the_label_ids_of_its_own_scripts():
    labels = pytest.importorskip("cityscapesscripts.helpers.labels")
    server = SERVERS["cityscapes"]
    for space in (CITYSCAPES19, SYNTHIA16):
        ids = server.encoded(np.arange(len(space), dtype=np.uint8)[None].repeat(1024, 0), server.table(space))
        assert ids.shape == (1024, 2048) and ids.dtype == np.uint8
        assert list(dict.fromkeys(ids[0].tolist())) == [labels.name2label[name].id for name in space.classes]


def test_bdd100k_and_acdc_take_train_ids_at_their_images_sizes():
    for name, size in (("bdd100k", (720, 1280)), ("acdc", (1080, 1920))):
        server, classes = SERVERS[name], np.random.default_rng(0).integers(0, 19, SERVERS[name].size).astype(np.uint8)
        assert server.size == size
        assert (server.encoded(classes, server.table(CITYSCAPES19)) == classes).all()
        assert server.table(SYNTHIA16)[SYNTHIA16.index("person")] == CITYSCAPES19.index("person")


def test_classes_go_by_name_and_those_without_an_id_are_refused():
    table = SERVERS["cityscapes"].table(CAMVID11)
    assert table[CAMVID11.index("pavement")] == 8 and table[CAMVID11.index("tree")] == 21
    with pytest.raises(UserError, match="of which it has no flat, construction"):
        SERVERS["acdc"].table(CITYSCAPES7)
