"""SLIC maps: complete, connected, about as many as asked for, and a cache that never lies."""

import dataclasses

import numpy as np
import pytest
from skimage.measure import label as components
from skimage.segmentation import slic

from da_toolkit.data.streets import render
from da_toolkit.data.superpixels import SuperpixelCache, Superpixels
from da_toolkit.errors import UserError


@pytest.fixture(scope="module")
def image():
    return render("camera", "train", 0, (96, 192))[0]


@pytest.mark.parametrize("count", [20, 80])
def test_every_pixel_is_in_one_connected_superpixel(image, count):
    regions = Superpixels(count).compute(image)
    assert regions.shape == (96, 192) and regions.dtype == np.int32
    assert set(np.unique(regions)) == set(range(regions.max() + 1))
    assert components(regions + 1, connectivity=1).max() == regions.max() + 1  # one component each
    assert 0.8 * count <= regions.max() + 1 <= 1.2 * count


@pytest.mark.parametrize("size", [(320, 640), (321, 643), (160, 1279)])
def test_wide_regions_are_as_whole_and_as_many_from_a_coarser_grid(size):
    image = render("camera", "train", 1, size)[0]
    regions = Superpixels(100).compute(image)
    assert regions.shape == size and regions.dtype == np.int32
    assert components(regions + 1, connectivity=1).max() == regions.max() + 1
    assert 85 <= regions.max() + 1 <= 115


def test_wide_regions_hold_to_one_label_as_those_of_scikit_image_do():
    image, label = render("camera", "train", 0, (256, 512))
    ours = Superpixels(100).compute(image)
    theirs = slic(image, int(ours.max()) + 1, 10.0, sigma=1.0, start_label=0, channel_axis=-1)
    assert purity(ours, label) > purity(theirs, label) - 0.01


def purity(regions, label):
    """The share of labelled pixels that have the commonest class of their region."""
    counts = np.zeros((regions.max() + 1, 256))
    np.add.at(counts, (regions, label), 1)
    return counts[:, :255].max(1).sum() / counts[:, :255].sum()


@pytest.mark.parametrize(("size", "cell"), [((40, 60), 1), ((80, 120), 2)])
def test_superpixels_follow_colours(size, cell):
    image = np.zeros((*size, 3), np.uint8)
    middle = size[1] // 2
    image[:, middle:] = 255
    regions = Superpixels(6, compactness=1).compute(image)
    assert not set(regions[:, : middle - cell].ravel()) & set(regions[:, middle + cell :].ravel())


def test_one_colour_gives_a_grid_and_one_region_is_possible():
    flat = np.full((40, 60, 3), 90, np.uint8)
    assert 4 <= Superpixels(6).compute(flat).max() + 1 <= 8
    assert (Superpixels(1).compute(flat) == 0).all()


def test_the_cache_answers_only_for_the_same_image_size_and_settings(image, tmp_path, monkeypatch):
    cache = SuperpixelCache(Superpixels(20), (48, 96), tmp_path)
    made = cache(image)
    made_by_hand = cache.settings.compute(np.asarray(__import__("cv2").resize(image, (96, 48), interpolation=3)))
    assert (made == made_by_hand).all()
    monkeypatch.setattr(Superpixels, "compute", lambda self, image: np.full(image.shape[:2], 7, np.int32))
    assert (cache(image) == made).all()
    changed = image.copy()
    changed[0, 0] ^= 255
    others = [
        (cache.settings, (48, 96), changed),
        (cache.settings, (48, 90), image),
        (dataclasses.replace(cache.settings, count=21), (48, 96), image),
        (dataclasses.replace(cache.settings, compactness=11), (48, 96), image),
        (dataclasses.replace(cache.settings, sigma=0), (48, 96), image),
    ]
    for settings, size, other in others:
        assert (SuperpixelCache(settings, size, tmp_path)(other) == 7).all()


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-40] + bytes(40)])
def test_a_half_written_map_is_made_again(image, tmp_path, damage):
    cache = SuperpixelCache(Superpixels(20), (48, 96), tmp_path)
    made = cache(image)
    file = next(tmp_path.rglob("*.png"))
    file.write_bytes(damage(file.read_bytes()))
    assert (cache(image) == made).all()
    assert not list(tmp_path.rglob("*.tmp"))


def test_survey_counts_each_image_and_makes_what_is_missing(toy, tmp_path):
    cache = SuperpixelCache(Superpixels(12), (64, 96), tmp_path)
    for cores in (1, 2):
        counts, keys = cache.survey(toy(), cores)
        assert counts == [cache(toy().image(i)).max() + 1 for i in range(6)]
        assert len(set(keys)) == 6 and {file.stem for file in tmp_path.rglob("*.png")} == set(keys)


def test_a_cache_that_cannot_be_written_names_the_folder_and_the_remedy(image, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="DA_TOOLKIT_CACHE"):
        SuperpixelCache(Superpixels(20), (48, 96), tmp_path / "file")(image)


@pytest.mark.parametrize("bad", [{"count": 0}, {"compactness": 0}, {"sigma": -1}])
def test_settings_are_checked(bad):
    with pytest.raises(UserError):
        Superpixels(**bad)
