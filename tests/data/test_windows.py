"""A crop is what is left of the whole image, resized, zoomed and cut, though no more of it is resized than it shows."""

import dataclasses
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


def whole_first(size, augmentation, seed, image, label, regions):
    """The same changes, each of all of the image: resized and zoomed by albumentations, cut, then flipped and coloured
    as images of the crop's size are."""
    window = augmentation.build(size).window(seed)
    how = dict(mask_interpolation=NEAREST, area_for_downscale="image")
    steps = [A.Resize(*size, interpolation=cv2.INTER_CUBIC, **how)]
    if window.zoomed != size:
        steps.append(A.Resize(*window.zoomed, interpolation=cv2.INTER_LINEAR, **how))
    whole = A.Compose(steps, additional_targets={"regions": "mask"})(image=image, mask=label, regions=regions)
    parts = [whole[name][window.rows, window.columns] for name in ("image", "mask", "regions")]
    assert all(part.shape[:2] == (augmentation.crop or size) for part in parts)
    rest = dataclasses.replace(augmentation, scale=(1.0, 1.0), crop=None)
    return augment(rest.build(parts[0].shape[:2]), *parts[:2], seed, parts[2])


@pytest.mark.parametrize("case", CASES)
def test_samples_are_to_the_bit_what_whole_images_give(case):
    shape, size, augmentation = CASES[case]
    pixels = np.random.default_rng(0)
    image = pixels.integers(0, 256, (*shape, 3), dtype=np.uint8)
    label, regions = pixels.integers(0, 20, shape, dtype=np.uint8), pixels.integers(0, 70_000, shape, dtype=np.int32)
    pipeline = augmentation.build(size)
    for seed in range(12):
        moved, mask, moved_regions = augment(pipeline, image, label, seed, regions)
        for found, wanted in zip(
            (moved, mask, moved_regions), whole_first(size, augmentation, seed, image, label, regions), strict=True
        ):
            assert np.array_equal(found, wanted)
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


def test_what_is_drawn_for_a_sample_is_independent():
    """albumentations gives all transforms one seed: then flips come with lower crops, and those with large zooms."""
    rows, columns = np.mgrid[:80, :120]
    image = np.stack([np.full_like(rows, 200), columns, np.full_like(rows, 40)], 2).astype(np.uint8)
    augmentation = Augmentation(scale=(0.8, 1.6), flip=True, crop=(48, 48))
    pipeline, drawn = augmentation.build((80, 120)), []
    coloured = Augmentation(flip=True, color=1.0).build((80, 120))
    for seed in range(1500):
        window = pipeline.window(seed)
        moved, _, _ = augment(pipeline, image, None, seed)
        turned = float(moved[0, 0, 1]) > float(moved[0, -1, 1])
        parts = zip((window.rows, window.columns), window.zoomed, strict=True)
        share = [part.start / max(1, side - 48) for part, side in parts]
        changed, _, _ = augment(coloured, image, None, seed)
        drawn.append([window.zoomed[0], *share, turned, changed.mean(), np.ptp(changed[0, 0].astype(int)) == 0])
    found = np.corrcoef(np.array(drawn, float).T)
    assert np.isfinite(found).all() and np.abs(found - np.eye(6)).max() < 0.12
    assert 0.45 < np.mean([line[3] for line in drawn]) < 0.55 and 0.05 < np.mean([line[5] for line in drawn]) < 0.15
