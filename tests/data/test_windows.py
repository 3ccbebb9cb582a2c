"""A crop is what is left of the whole image, resized, zoomed and cut, though no more of it is resized than it shows."""

import random

import albumentations as A
import cv2
import numpy as np
import pytest

from da_toolkit.data.transforms import NEAREST, Augmentation, augment, resized, resized_label
from da_toolkit.data.windows import reach, resized_corner

CASES = {
    "GTA5 with a crop": ((1052, 1914), (720, 1280), Augmentation(flip=True, crop=(512, 512))),
    "Cityscapes with a crop": ((1024, 2048), (512, 1024), Augmentation(flip=True, crop=(512, 512))),
    "up, with a crop": ((263, 478), (360, 640), Augmentation(flip=True, crop=(256, 256))),
    "no crop": ((263, 478), (180, 320), Augmentation(flip=True)),
    "as it is": ((64, 96), (64, 96), Augmentation(crop=(32, 48))),
    "zoomed": ((263, 478), (180, 320), Augmentation(scale=(0.5, 2.0), flip=True, crop=(128, 128))),
    "zoomed without a crop": ((263, 478), (180, 320), Augmentation(scale=(0.5, 2.0))),
    "up and zoomed": ((100, 150), (180, 320), Augmentation(scale=(0.7, 1.5), crop=(64, 200))),
    "wider and lower": ((300, 150), (180, 320), Augmentation(scale=(0.7, 1.5), flip=True, crop=(64, 64))),
    "strong": ((263, 478), (180, 320), Augmentation((0.5, 2.0), flip=True, color=1.0, blur=0.5, crop=(96, 160))),
}


def whole_first(size, augmentation):
    """The same changes by albumentations alone, each of all of the image."""
    height, width = augmentation.crop or size
    steps = [A.Resize(*size, interpolation=cv2.INTER_CUBIC, mask_interpolation=NEAREST, area_for_downscale="image")]
    if augmentation.scale != (1.0, 1.0):
        fills = max(height / size[0], width / size[1]) * (1 + 1e-6)
        low, high = (max(zoom, fills) for zoom in augmentation.scale)
        steps.append(A.RandomScale((low - 1, high - 1), mask_interpolation=NEAREST, area_for_downscale="image", p=1))
    steps.append(A.RandomCrop(height, width))
    after = augmentation.build(size).after
    return A.Compose([*steps, *(after.transforms if after else ())], additional_targets={"regions": "mask"})


@pytest.mark.parametrize("case", CASES)
def test_samples_are_to_the_bit_what_whole_images_give(case):
    shape, size, augmentation = CASES[case]
    pixels = np.random.default_rng(0)
    image = pixels.integers(0, 256, (*shape, 3), dtype=np.uint8)
    label, regions = pixels.integers(0, 20, shape, dtype=np.uint8), pixels.integers(0, 70_000, shape, dtype=np.int32)
    pipeline, plain = augmentation.build(size), whole_first(size, augmentation)
    for seed in range(12):
        moved, mask, moved_regions = augment(pipeline, image, label, seed, regions)
        plain.set_random_seed(seed)
        wanted = plain(image=image, mask=label, regions=regions)
        assert np.array_equal(mask, wanted["mask"]) and np.array_equal(moved_regions, wanted["regions"])
        assert np.array_equal(moved, wanted["image"])
        kept = augment(pipeline, resized(image, size), resized_label(label, size), seed)  # as a frame cache keeps it
        assert np.array_equal(kept[0], moved) and np.array_equal(kept[1], mask)


def test_corners_of_images_of_any_size_are_those_of_the_whole():
    sides = random.Random(0)
    for _ in range(60):
        source, result = ((sides.randint(20, 500), sides.randint(20, 500)) for _ in range(2))
        corner = sides.randint(1, result[0]), sides.randint(1, result[1])
        how = sides.choice((cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC))
        image = np.random.default_rng(sides.randrange(1000)).integers(0, 256, (*source, 3), dtype=np.uint8)
        rows, columns = reach(corner, source, result, how)
        found = resized_corner(image[:rows, :columns], source, result, how, corner)
        whole = cv2.resize(image, result[::-1], interpolation=how)
        assert np.array_equal(found[: corner[0], : corner[1]], whole[: corner[0], : corner[1]])


def test_no_more_than_a_crop_needs_is_looked_at():
    assert reach((512, 512), (1052, 1914), (720, 1280), cv2.INTER_AREA) == (753, 770)
    assert reach((700, 512), (1052, 1914), (720, 1280), cv2.INTER_AREA) == (1033, 770)
    assert reach((720, 1280), (1052, 1914), (720, 1280), cv2.INTER_AREA) == (1052, 1914)
