"""Resizing without aliasing, the same in training and evaluation; labels move with their image."""

import numpy as np
import pytest
from PIL import Image

from da_toolkit.data.gta5 import _fit
from da_toolkit.data.samples import Samples
from da_toolkit.data.transforms import Augmentation, augment, resized, resized_label
from da_toolkit.errors import UserError


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (48, 72, 3), dtype=np.uint8)


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_a_shrunk_pixel_is_the_mean_of_the_area_it_covers(image, factor):
    means = image.reshape(48 // factor, factor, 72 // factor, factor, 3).mean((1, 3))
    small = resized(image, (48 // factor, 72 // factor))
    assert small.shape == means.shape and np.abs(small - means).max() <= 0.51


@pytest.mark.parametrize("size", [(48, 72), (20, 30), (24, 36), (96, 144)])
def test_training_images_are_resized_as_evaluated_ones(image, size):
    assert (augment(Augmentation().build(size), image, None, 0)[0] == resized(image, size)).all()


def test_the_label_follows_its_image_through_every_geometric_change(image):
    label = (image[..., 0] > 127).astype(np.uint8)
    image = np.repeat(label[..., None] * 255, 3, axis=2)
    pipeline = Augmentation(scale=(1.0, 2.0), flip=True, crop=(32, 40)).build((96, 144))
    for seed in range(8):
        moved, mask, _ = augment(pipeline, image, label, seed)
        assert moved.shape == (32, 40, 3) and mask.shape == (32, 40)
        sure = (moved[..., 0] < 20) | (moved[..., 0] > 235)  # away from interpolated borders
        assert sure.mean() > 0.2
        assert ((moved[..., 0] > 127) == (mask == 1))[sure].mean() > 0.97


@pytest.mark.parametrize(("size", "crop"), [((48, 72), None), ((47, 71), (31, 64)), ((298, 480), (192, 256))])
def test_a_small_zoom_stops_where_the_crop_is_filled(size, crop):
    pipeline = Augmentation(scale=(0.1, 0.7), crop=crop).build(size)
    white = np.full((*size, 3), 255, np.uint8)
    for seed in range(20):
        moved, mask, _ = augment(pipeline, white, np.ones(size, np.uint8), seed)
        assert moved.shape[:2] == mask.shape == (crop or size) and (mask == 1).all() and (moved > 250).all()


def test_a_crop_larger_than_the_images_is_refused():
    with pytest.raises(UserError, match=r"crop \(64, 40\) is larger than the domain's size \(48, 72\)"):
        Augmentation(crop=(64, 40)).build((48, 72))


def test_regions_follow_their_image(image):
    rows, columns = np.mgrid[0:48, 0:72]
    regions = (rows // 4 * 18 + columns // 4).astype(np.int32)  # 216 blocks, 255 and above included below
    for offset in (0, 200, 60_000):
        pipeline = Augmentation(scale=(0.5, 1.5), flip=True, color=0.5, blur=0.5).build((48, 72))
        for seed in range(6):
            label = ((regions + offset) % 251).astype(np.uint8)
            _, mask, moved = augment(pipeline, image, label, seed, regions + offset)
            assert moved.dtype == np.int32 and (moved % 251 == mask).all()


def pillow(values, size):
    """Nearest neighbour by another library: the label of the pixel in which a result's centre lies."""
    return np.asarray(Image.fromarray(values).resize(size[::-1], Image.Resampling.NEAREST))


SIZES = [(24, 36), (36, 48), (96, 144), (47, 71), (17, 100), (48, 72), (7, 5)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [np.uint8, np.int32])
def test_labels_are_resized_as_pillow_resizes_them(size, kind):
    values = np.random.default_rng(1).integers(0, 250, (48, 72)).astype(kind)
    found = resized_label(values, size)
    assert found.dtype == kind and (found == pillow(values, size)).all()


def test_a_halved_label_does_not_move():
    """Every second pixel of both sides' own: a step of labels stays where it was, seen from either side."""
    steps = np.repeat(np.arange(6, dtype=np.uint8), 4)[None].repeat(8, 0)
    assert (resized_label(steps, (4, 12)) == resized_label(steps[:, ::-1].copy(), (4, 12))[:, ::-1]).mean() == 1
    assert (resized_label(np.arange(9, dtype=np.uint8)[None], (1, 3)) == [[1, 4, 7]]).all()


@pytest.mark.parametrize("size", SIZES)
def test_a_training_label_and_its_regions_are_resized_so_too(image, size):
    label = image[..., 0] % 19
    regions = np.arange(48 * 72, dtype=np.int32).reshape(48, 72)
    _, moved, moved_regions = augment(Augmentation().build(size), image, label, 0, regions)
    assert (moved == pillow(label, size)).all() and (moved_regions == pillow(regions, size)).all()


def test_a_zoomed_label_is_resized_so_too(image):
    """A crop of 1.5 times the label is a window of what Pillow makes of it."""
    label = image[..., 1] % 19
    whole = pillow(label, (72, 108))
    windows = [whole[y : y + 48, x : x + 72] for y in range(25) for x in range(37)]
    pipeline = Augmentation(scale=(1.5, 1.5)).build((48, 72))
    for seed in range(3):
        moved = augment(pipeline, image, label, seed)[1]
        assert sum((moved == window).all() for window in windows) == 1


def test_samples_with_regions_and_a_run_s_label_maps_are_resized_so_too(toy, tiny_trainer):
    from da_toolkit.methods import SourceOnly

    data = toy(size=(50, 70))
    stored = np.arange(25 * 35, dtype=np.int32).reshape(25, 35)

    class Regions:
        def keyed(self, _):
            return "key", stored

    sample = Samples(data, (32, 48), Augmentation(), True, seed=0, regions=Regions())[0, 2]
    assert (sample.label == pillow(data.label(2), (32, 48))).all()
    assert (sample.regions == pillow(stored, (32, 48))).all()

    images = tiny_trainer(SourceOnly()).images
    images.source.size = (51, 77)
    order = np.random.default_rng(0).permutation(len(images.source)).tolist()
    for index, found in zip(order, images.labels("source"), strict=True):
        assert (found == pillow(images.source.label(index), (64, 96))).all()


def test_a_label_of_gta5_of_another_size_is_resized_so_too():
    ids = np.random.default_rng(2).integers(0, 34, (40, 66)).astype(np.uint8)
    assert (_fit("20803", ids, (48, 72)) == pillow(ids, (48, 72))).all()
