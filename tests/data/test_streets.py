"""The street world is frozen: its frames are held to WORLD_VERSION by a hash."""

import hashlib

import numpy as np
import pytest

from da_toolkit.data.labels import CITYSCAPES19, SYNTHIA16
from da_toolkit.data.streets import WORLD_VERSION, Streets, render

HASHES = {"game": "0a948b40c8d9b23b", "camera": "cd5bd813cc1e3179"}


def digest(look):
    frames = [part for index in range(4) for part in render(look, "train", index)]
    return hashlib.sha256(b"".join(part.tobytes() for part in frames)).hexdigest()[:16]


@pytest.mark.parametrize("look", HASHES)
def test_frames_are_those_of_this_world_version(look):
    assert WORLD_VERSION == 1 and digest(look) == HASHES[look]


def test_frames_differ_by_index_split_look_and_seed():
    base = render("game", "train", 0)[0]
    for other in (("game", "train", 1), ("game", "val", 0), ("camera", "train", 0)):
        assert (render(*other)[0] != base).any()
    assert (render("game", "train", 0, seed=1)[0] != base).any()


@pytest.mark.parametrize("look", HASHES)
def test_all_classes_occur_and_the_sky_is_above_the_road(look):
    counts = np.zeros(256, int)
    for index in range(60):
        label = render(look, "train", index)[1]
        counts += np.bincount(label.ravel(), minlength=256)
        rows = [np.nonzero(label == CITYSCAPES19.index(name))[0].mean() for name in ("sky", "road")]
        assert rows[0] < rows[1]
    assert (counts[:19] > 0).all() and counts[19:].sum() == 0


def test_domain_reads_frames_from_its_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DA_TOOLKIT_CACHE", str(tmp_path))
    domain = Streets(frames=3, val_frames=2, render_size=(64, 96))
    first = domain.build("train")
    image, label = render("game", "train", 2, (64, 96))
    assert (first.image(2) == image).all() and (first.label(2) == label).all()
    monkeypatch.setattr("da_toolkit.data.streets.domain.render", None)  # a second build must not render
    assert (domain.build("train").image(2) == image).all()


def test_damaged_cache_is_rendered_again_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("DA_TOOLKIT_CACHE", str(tmp_path))
    domain = Streets(frames=2, render_size=(64, 96))
    image = domain.build("train").image(1)
    file = next(tmp_path.rglob("*.npy"))
    file.write_bytes(file.read_bytes()[:500])
    with pytest.warns(UserWarning, match="damaged"):
        again = domain.build("train")
    assert (again.image(1) == image).all()


def test_sixteen_class_labels():
    nineteen = Streets(frames=2, render_size=(64, 96)).build("train").label(0)
    sixteen = Streets(frames=2, render_size=(64, 96), labels="synthia16").build("train").label(0)
    assert (sixteen == SYNTHIA16.table_from(CITYSCAPES19)[nineteen]).all()
