"""ClassMix, block masks and colour changes."""

import math

import pytest
import torch

from da_toolkit.data.labels import IGNORE
from da_toolkit.methods.mixing import block_mask, change_colours, class_mask


def test_half_of_the_present_classes_are_taken_whole():
    """Against a loop over images and classes."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 7, (4, 12, 10), generator=generator)
    label[1] = 3  # one class alone
    label[2, :6] = IGNORE
    label[3] = IGNORE
    scores = torch.rand(4, 7, generator=generator)
    mask = class_mask(label, scores)
    for image in range(4):
        present = [c for c in range(7) if (label[image] == c).any()]
        wanted = sorted(present, key=lambda c: float(scores[image, c]))[: math.ceil(len(present) / 2)]
        expected = torch.zeros(12, 10, dtype=torch.bool)
        for c in wanted:
            expected |= label[image] == c
        assert torch.equal(mask[image], expected)
    assert mask[1].all() and not mask[3].any() and not mask[label == IGNORE].any()


def test_blocks_are_hidden_whole_and_as_often_as_asked():
    hidden = block_mask(torch.zeros(50, 3, 70, 100), block=32, ratio=0.7)
    assert hidden.shape == (50, 1, 70, 100)
    for top, left in ((0, 0), (32, 64), (64, 96)):
        block = hidden[:, :, top : top + 32, left : left + 32].flatten(1)
        assert (block == block[:, :1]).all()
    assert hidden.float().mean().item() == pytest.approx(0.7, abs=0.05)
    assert not block_mask(torch.zeros(2, 3, 8, 8), 4, 0.0).any() and block_mask(torch.zeros(2, 3, 8, 8), 4, 1.0).all()


def test_colours_change_within_range_and_repeat_with_the_seed():
    images = torch.rand(8, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    one = change_colours(images, 0.5, 1.0)
    torch.manual_seed(1)
    assert torch.equal(one, change_colours(images, 0.5, 1.0))
    assert one.shape == images.shape and one.min() >= 0 and one.max() <= 1
    assert (one - images).abs().mean() > 0.02
    assert torch.equal(change_colours(images, 0, 0), images)


def test_blur_is_a_low_pass():
    noise = torch.rand(16, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    assert change_colours(noise, 0, 1.0).std() < 0.85 * noise.std()
