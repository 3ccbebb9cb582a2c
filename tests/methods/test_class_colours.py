"""Class colours against a loop over pixels, and what they leave alone."""

import pytest
import torch

from da_toolkit.data.batch import Batch
from da_toolkit.errors import UserError
from da_toolkit.methods import ClassColours, SourceOnly
from da_toolkit.methods.class_colours import change_class_colours


def example():
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 6, 8, generator=draw) * 0.5 + 0.2
    label = torch.randint(0, 3, (2, 6, 8), generator=draw)
    label[0, :2] = 255
    return images, label, draw


def test_each_class_keeps_its_own_factors_as_in_a_loop():
    images, label, draw = example()
    gain, contrast = torch.rand(2, 4, 3, generator=draw) + 0.5, torch.rand(2, 4, 1, generator=draw) + 0.5
    expected = torch.zeros_like(images)
    for image in range(2):
        for label_id, row in ((0, 0), (1, 1), (2, 2), (255, 3)):
            for channel in range(3):
                own = [images[image, channel, y, x] for y, x in (label[image] == label_id).nonzero().tolist()]
                for y, x in (label[image] == label_id).nonzero().tolist():
                    mean = sum(own) / len(own)
                    value = mean + (images[image, channel, y, x] - mean) * contrast[image, row, 0]
                    expected[image, channel, y, x] = min(1, max(0, value * gain[image, row, channel]))
    found = change_class_colours(images, label, gain, contrast)
    torch.testing.assert_close(found, expected)


def test_factors_of_one_change_nothing():
    images, label, _ = example()
    torch.testing.assert_close(change_class_colours(images, label, torch.ones(2, 4, 3), torch.ones(2, 4, 1)), images)


@pytest.mark.parametrize("share, changed", [(0.0, False), (1.0, True)])
def test_a_share_of_source_images_changes_and_nothing_else(share, changed, tiny_trainer):
    torch.manual_seed(0)
    images, label, _ = example()
    source, target = Batch(images, label, torch.arange(2)), Batch(images.clone(), None, torch.arange(2))
    term = tiny_trainer(SourceOnly(regularizers=(ClassColours(share=share),))).terms[1]
    new, same = term.transform(source, target)
    assert same is target and new.label is label and new.image.min() >= 0 and new.image.max() <= 1
    assert [not torch.equal(a, b) for a, b in zip(new.image, images, strict=True)] == [changed] * 2
    assert term.transform(None, target) == (None, target)


def changed(tiny_trainer, images, label, **settings):
    """What the term makes of images, each of which it changes."""
    torch.manual_seed(0)
    term = tiny_trainer(SourceOnly(regularizers=(ClassColours(share=1.0, **settings),))).terms[1]
    return term.transform(Batch(images, label, torch.arange(len(images))), None)[0].image


def test_classes_change_apart_and_within_their_range(tiny_trainer):
    """A class of one colour shows its factor: exp(light + colour) at most, colour alone between its channels."""
    images, label = torch.full((64, 3, 2, 2), 0.5), torch.tensor([[[0, 0], [7, 255]]]).repeat(64, 1, 1)
    factors = (changed(tiny_trainer, images, label, light=0.5, colour=0.1) / 0.5).log()
    assert factors.abs().max() <= 0.601 and factors.min() < -0.4 and factors.max() > 0.4
    spread = factors - factors.mean(1, keepdim=True)
    assert 0.1 < spread.abs().max() <= 0.134  # a channel of three at one end, the others at the other
    torch.testing.assert_close(factors[..., 0, 0], factors[..., 0, 1])
    first, second, ignored = factors[..., 0, 0], factors[..., 1, 0], factors[..., 1, 1]
    for one, other in ((first, second), (first, ignored), (second, ignored)):
        assert (one - other).abs().amax(1).median() > 0.1


def test_contrast_changes_in_proportion_and_within_its_range(tiny_trainer):
    images = torch.full((64, 3, 2, 2), 0.3)
    images[..., 0] = 0.36
    found = changed(tiny_trainer, images, torch.zeros(64, 2, 2, dtype=torch.int64), light=0.5, colour=0.0)
    relative = (found[..., 0] - found[..., 1]) / found.mean(3)
    factors = (relative / (0.06 / 0.33)).log()
    assert factors.abs().max() <= 0.2501 and factors.min() < -0.2 and factors.max() > 0.2


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"light": -1.0}, {"colour": -1.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(UserError, match=r"share lies in 0\.\.1"):
        ClassColours(**wrong)
