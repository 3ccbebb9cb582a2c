"""Exported files read back by the official loaders, and their raw bytes by PIL and OpenCV."""

import pickle

import cv2
import numpy as np
import pytest
from PIL import Image

from da_toolkit.data import GTA5, Cityscapes, Streets, Synthia
from da_toolkit.data.encodings import CITYSCAPES_ID_TO_TRAIN, SYNTHIA_ID_TO_TRAIN
from da_toolkit.data.export import export_cityscapes, export_gta5, export_synthia
from da_toolkit.data.labels import CITYSCAPES19, SYNTHIA16
from da_toolkit.errors import UserError


@pytest.fixture(scope="module")
def streets():
    return Streets(frames=3, render_size=(64, 96)).build("train")


def test_gta5_round_trip(tmp_path, streets):
    export_gta5(streets, tmp_path)
    data = GTA5(root=tmp_path).build("train")
    for index in range(3):
        assert (data.image(index) == streets.image(index)).all()
        assert (data.label(index) == streets.label(index)).all()
    raw = Image.open(tmp_path / "labels" / "00001.png")
    assert raw.mode == "P"
    names = {train_id: raw_id for raw_id, train_id in CITYSCAPES_ID_TO_TRAIN.items()}
    assert (np.vectorize(names.get)(streets.label(0)) == np.asarray(raw)).all()
    colors = np.asarray(raw.convert("RGB"))
    assert (colors == CITYSCAPES19.colorize(streets.label(0))).all()


def test_synthia_round_trip(tmp_path, streets):
    export_synthia(streets, tmp_path)
    data = Synthia(root=tmp_path).build("train")
    table = SYNTHIA16.table_from(CITYSCAPES19)
    for index in range(3):
        assert (data.image(index) == streets.image(index)).all()
        assert (data.label(index) == table[streets.label(index)]).all()
    raw = cv2.imread(str(tmp_path / "GT" / "LABELS" / "0000000.png"), cv2.IMREAD_UNCHANGED)
    names = {train_id: raw_id for raw_id, train_id in SYNTHIA_ID_TO_TRAIN.items()}
    assert raw.dtype == np.uint16 and (raw[..., 2] == np.vectorize(names.get)(streets.label(0))).all()


def test_cityscapes_round_trip_at_another_size(tmp_path, streets):
    export_cityscapes(streets, tmp_path, "val", size=(32, 48))
    data = Cityscapes(root=tmp_path).build("val")
    expected = np.asarray(Image.fromarray(streets.label(2)).resize((48, 32), Image.Resampling.NEAREST))
    assert len(data) == 3 and (data.label(2) == expected).all() and data.image(2).shape == (32, 48, 3)


def test_opened_domains_travel_to_other_processes(tmp_path, streets):
    """Spawned loader workers and the superpixels' processes get the data pickled."""
    export_gta5(streets, tmp_path / "GTA5")
    export_synthia(streets, tmp_path / "RAND_CITYSCAPES")
    export_cityscapes(streets, tmp_path / "cityscapes", "train")
    for domain in (GTA5(), Synthia(), Cityscapes()):
        data = domain.build("train", tmp_path)
        again = pickle.loads(pickle.dumps(data))
        assert (again.image(1) == data.image(1)).all() and (again.label(1) == data.label(1)).all()


def test_only_nineteen_class_labels_can_be_exported(tmp_path):
    with pytest.raises(UserError, match="cityscapes19"):
        export_gta5(Streets(frames=1, render_size=(64, 96), labels="synthia16").build("train"), tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    from da_toolkit.commands.prepare import export_streets
    from da_toolkit.errors import UserError

    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/below cannot be made: .* Export into another folder"):
        export_streets(tmp_path / "file" / "below", 1, None)
