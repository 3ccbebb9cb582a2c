"""Fourier and Lab transfer against their definitions."""

import cmath
import math

import numpy as np
import pytest
import torch

from da_toolkit.data.batch import Batch
from da_toolkit.data.style import match_lab_statistics, swap_low_frequencies
from da_toolkit.errors import UserError
from da_toolkit.methods import FourierTransfer, LabTransfer, SourceOnly


def images(seed, size):
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))


def dft(image):
    """Two-dimensional Fourier coefficients per pixel, by their definition."""
    height, width = len(image), len(image[0])
    return {
        (k, m): sum(
            image[y][x] * cmath.exp(-2j * math.pi * (k * y / height + m * x / width))
            for y in range(height)
            for x in range(width)
        )
        / (height * width)
        for k in range(-(height // 2), (height + 1) // 2)
        for m in range(-(width // 2), (width + 1) // 2)
    }


def test_low_frequencies_have_the_targets_amplitude_and_all_others_the_sources():
    """Also between images of different sizes; b = floor(beta * shorter side) = 1 here."""
    source, target = images(0, (9, 12)), images(1, (7, 11))
    styled = swap_low_frequencies(source, target, beta=0.12)
    for image, channel in ((0, 0), (1, 2)):
        own, other, found = (dft(x[image, channel].double().tolist()) for x in (source, target, styled))
        for k, m in own:
            if k == -6 or m == -6:
                continue  # the one frequency without a mirror of an even side
            low = abs(k) <= 1 and abs(m) <= 1
            assert abs(found[k, m]) == pytest.approx(abs(other[k, m]) if low else abs(own[k, m]), abs=1e-5)
            if abs(found[k, m]) > 1e-3:
                assert cmath.phase(found[k, m] / own[k, m]) == pytest.approx(0, abs=1e-3)


def test_beta_0_swaps_the_mean_colour_alone_and_ones_own_style_changes_nothing():
    source, target = images(0, (8, 10)), images(1, (8, 10))
    styled = swap_low_frequencies(source, target, 0.0)
    torch.testing.assert_close(styled.mean((2, 3)), target.mean((2, 3)))
    torch.testing.assert_close(styled - styled.mean((2, 3), True), source - source.mean((2, 3), True))
    torch.testing.assert_close(swap_low_frequencies(source, source, 0.3), source)


def test_lab_statistics_are_the_targets_by_another_library():
    from skimage.color import rgb2lab

    source, target = images(0, (12, 10)) * 0.3 + 0.3, images(1, (9, 14)) * 0.4 + 0.2
    styled = match_lab_statistics(source, target)
    for image in range(2):
        found, wanted = (rgb2lab(x[image].permute(1, 2, 0).double().numpy()) for x in (styled, target))
        np.testing.assert_allclose(found.mean((0, 1)), wanted.mean((0, 1)), atol=0.1)
        np.testing.assert_allclose(found.std((0, 1), ddof=1), wanted.std((0, 1), ddof=1), atol=0.1)


@pytest.mark.parametrize("part", [FourierTransfer(beta=0.1), LabTransfer()])
def test_only_source_images_change_and_labels_stay(part, tiny_trainer):
    trainer = tiny_trainer(SourceOnly(regularizers=(part,)))
    label = torch.zeros(2, 8, 10, dtype=torch.int64)
    source, target = Batch(images(0, (8, 10)), label, torch.arange(2)), Batch(images(1, (6, 8)), None, torch.arange(2))
    new, same = trainer.terms[1].transform(source, target)
    assert same is target and new.label is label and not torch.equal(new.image, source.image)
    assert new.image.min() >= 0 and new.image.max() <= 1
    assert trainer.terms[1].transform(source, None) == (source, None)


def test_the_trainer_shows_styled_images_to_every_term(tiny_trainer):
    trainer = tiny_trainer(SourceOnly(regularizers=(FourierTransfer(beta=0.05),)))
    seen = []
    supervised = trainer.terms[0]
    original = supervised.losses

    def look(step):
        seen.append((step.source.batch.image, step.target.batch.image))
        return original(step)

    supervised.losses = look
    trainer.step()
    (source, target), *_ = seen
    trainer.done = trainer.images.seen = 0
    trainer.images.open()
    unstyled = trainer.images.next()[0].image
    torch.testing.assert_close(source, swap_low_frequencies(unstyled, target, 0.05).clamp(0, 1))


def test_beta_is_checked():
    with pytest.raises(UserError, match="beta"):
        FourierTransfer(beta=0.7)
