"""Rare class sampling: DAFormer's formula, resumable draws, and crops that hold the class."""

import math
from itertools import islice

import numpy as np
import pytest

from da_toolkit.data.rare_classes import RareClasses, RareClassSampler, image_class_shares
from da_toolkit.data.samples import Samples
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import UserError

SHARES = np.array([[0.9, 0.1, 0.0], [0.8, 0.0, 0.2], [1.0, 0.0, 0.0], [0.9, 0.0, 0.1]], dtype=np.float32)


def test_probabilities_follow_the_formula():
    found = RareClasses(temperature=0.3).probabilities(SHARES)
    frequency = [0.9, 0.025, 0.075]
    exps = [math.exp((1 - f) / 0.3) for f in frequency]
    assert found.tolist() == pytest.approx([e / sum(exps) for e in exps], rel=1e-4)


def test_a_class_without_images_is_never_drawn_and_none_at_all_is_an_error():
    shares = np.concatenate([SHARES, np.zeros((4, 1), np.float32)], 1)
    assert RareClasses().probabilities(shares)[3] == 0
    with pytest.raises(UserError, match="least"):
        RareClasses(least=1.0).probabilities(SHARES * 0.9)


def test_draws_hold_their_class_follow_the_probabilities_and_need_no_replay():
    settings = RareClasses(temperature=0.5)
    batches = list(islice(RareClassSampler(settings, SHARES, 2, seed=1), 1000))
    draws = [place for batch in batches for place in batch]
    assert [draw for draw, _, _ in draws] == list(range(2000))
    assert all(SHARES[image, wanted] >= settings.least for _, image, wanted in draws)
    drawn = np.bincount([wanted for _, _, wanted in draws], minlength=3) / 2000
    np.testing.assert_allclose(drawn, settings.probabilities(SHARES), atol=0.04)
    assert list(islice(RareClassSampler(settings, SHARES, 2, seed=1, start=1980), 10)) == batches[990:]
    ranks = [list(islice(RareClassSampler(settings, SHARES, 1, 1, rank=r, world=2), 50)) for r in (0, 1)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == batches[:50]


def test_shares_are_read_from_labels(toy):
    data = toy()
    shares = image_class_shares(data)
    for index in range(len(data)):
        for c in range(19):
            assert shares[index, c] == pytest.approx((data.label(index) == c).mean())


def test_crops_hold_the_wanted_class_where_ten_tries_can(toy):
    """Class 10 lies at the bottom; a plain crop of a quarter of the image often misses it."""
    crop = Augmentation(crop=(20, 48))
    data = toy(count=6)
    plain = Samples(data, (64, 96), crop, True, seed=0)
    choosy = Samples(data, (64, 96), crop, True, seed=0, least=0.2)
    chosen = [choosy[draw, index, 10].label for draw in range(10) for index in range(6)]
    usual = [plain[draw, index].label for draw in range(10) for index in range(6)]
    shares = [np.mean([(label == 10).mean() >= 0.2 for label in labels]) for labels in (chosen, usual)]
    assert shares[0] > 0.9 > shares[1] + 0.1


def test_an_image_and_a_crop_may_need_different_shares_of_a_class(toy, tiny_trainer):
    from da_toolkit.methods import SourceOnly

    assert RareClasses(least=0.4).crop_share == 0.4 and RareClasses(least=0.4, least_of_crop=0.0).crop_share == 0
    with pytest.raises(UserError, match="least_of_crop"):
        RareClasses(least_of_crop=1.5)
    rare = RareClasses(temperature=0.5, least=0.01, least_of_crop=0.3)
    crop = Augmentation(crop=(20, 48))
    trainer = tiny_trainer(SourceOnly(), rare_classes=rare, source_augmentation=crop)
    shares = image_class_shares(trainer.images.source)
    draws = [place for places in islice(RareClassSampler(rare, shares, 2, seed=0), 20) for place in places]
    usual = Samples(trainer.images.source, (64, 96), crop, True, seed=0, least=0.3)
    for place, label in zip(draws, (row for _ in range(20) for row in trainer.images.next()[0].label), strict=True):
        assert shares[place[1], place[2]] >= 0.01
        assert (label.numpy() == usual[place].label).all()


def test_a_run_draws_by_class(tiny_trainer):
    from da_toolkit.methods import SourceOnly

    trainer = tiny_trainer(SourceOnly(), rare_classes=RareClasses(temperature=0.05))
    shares = image_class_shares(trainer.images.source)
    expected = list(islice(RareClassSampler(RareClasses(temperature=0.05), shares, 2, seed=0), 5))
    for places in expected:
        assert trainer.images.next()[0].index.tolist() == [index for _, index, _ in places]
