"""Resizing without aliasing, the same in training and evaluation; labels move with their image."""

import numpy as np
import pytest

from da_toolkit.data.transforms import Augmentation, augment, resized


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
        moved, mask = augment(pipeline, image, label, seed)
        assert moved.shape == (32, 40, 3) and mask.shape == (32, 40)
        sure = (moved[..., 0] < 20) | (moved[..., 0] > 235)  # away from interpolated borders
        assert sure.mean() > 0.2
        assert ((moved[..., 0] > 127) == (mask == 1))[sure].mean() > 0.97


def test_what_a_small_zoom_leaves_empty_is_ignored(image):
    pipeline = Augmentation(scale=(0.5, 0.5)).build((48, 72))
    moved, mask = augment(pipeline, image, np.ones((48, 72), np.uint8), 0)
    assert moved.shape == (48, 72, 3) and (mask == 1).sum() == 24 * 36 and (mask == 255).sum() == 48 * 72 - 24 * 36
