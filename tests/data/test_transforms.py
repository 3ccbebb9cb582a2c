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
        moved, mask, _ = augment(pipeline, image, label, seed)
        assert moved.shape == (32, 40, 3) and mask.shape == (32, 40)
        sure = (moved[..., 0] < 20) | (moved[..., 0] > 235)  # away from interpolated borders
        assert sure.mean() > 0.2
        assert ((moved[..., 0] > 127) == (mask == 1))[sure].mean() > 0.97


def test_what_a_small_zoom_leaves_empty_is_ignored(image):
    pipeline = Augmentation(scale=(0.5, 0.5)).build((48, 72))
    moved, mask, _ = augment(pipeline, image, np.ones((48, 72), np.uint8), 0)
    assert moved.shape == (48, 72, 3) and (mask == 1).sum() == 24 * 36 and (mask == 255).sum() == 48 * 72 - 24 * 36


def test_regions_follow_their_image_and_padding_belongs_to_none(image):
    rows, columns = np.mgrid[0:48, 0:72]
    regions = (rows // 4 * 18 + columns // 4).astype(np.int32)  # 216 blocks, 255 and above included below
    for offset in (0, 200, 60_000):
        pipeline = Augmentation(scale=(0.5, 1.5), flip=True, color=0.5, blur=0.5).build((48, 72))
        for seed in range(6):
            label = ((regions + offset) % 251).astype(np.uint8)
            _, mask, moved = augment(pipeline, image, label, seed, regions + offset)
            assert moved.dtype == np.int32 and ((moved == -1) == (mask == 255)).all()
            inside = moved >= 0
            assert inside.any() and (moved[inside] % 251 == mask[inside]).all()
