"""Resizing without aliasing, the same in training and evaluation; labels move with their image."""

import numpy as np
import pytest

from da_toolkit.data.transforms import Augmentation, augment, resized
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
