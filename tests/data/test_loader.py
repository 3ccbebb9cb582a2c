"""Sampling is seeded, resumable, and dealt to ranks without changing what is seen."""

from itertools import islice

import numpy as np
import torch

from da_toolkit.data.loader import Loading
from da_toolkit.data.samples import Samples
from da_toolkit.data.sampling import EpochSampler
from da_toolkit.data.transforms import Augmentation

STRONG = Augmentation(scale=(0.5, 2.0), flip=True, color=1.0, blur=0.5, crop=(32, 48))


def first(sampler, count):
    return list(islice(iter(sampler), count))


def test_every_epoch_visits_every_image_once():
    places = [place for batch in first(EpochSampler(7, 2, seed=3), 7) for place in batch]
    for epoch in (0, 1):
        assert sorted(index for e, index in places if e == epoch) == list(range(7))
    assert [i for e, i in places if e == 0] != [i for e, i in places if e == 1]


def test_starting_later_continues_the_same_sequence():
    assert first(EpochSampler(7, 3, seed=1), 9)[5:] == first(EpochSampler(7, 3, seed=1, start=15), 4)


def test_two_ranks_see_what_one_process_with_twice_the_batch_sees():
    whole = first(EpochSampler(7, 4, seed=1), 5)
    ranks = [first(EpochSampler(7, 2, seed=1, rank=rank, world=2), 5) for rank in (0, 1)]
    for step in range(5):
        assert sorted(ranks[0][step] + ranks[1][step]) == sorted(whole[step])


def test_worker_processes_give_the_batches_of_this_process(toy):
    samples = Samples(toy(), (64, 96), STRONG, with_labels=True, seed=5)
    batches = [list(islice(Loading(samples, EpochSampler(6, 2, seed=5), workers), 4)) for workers in (0, 2)]
    for ours, theirs in zip(*batches, strict=True):
        assert torch.equal(ours.image, theirs.image) and torch.equal(ours.label, theirs.label)
        assert ours.index.tolist() == theirs.index.tolist()


def test_the_random_version_of_an_image_depends_on_the_epoch_alone(toy):
    samples = Samples(toy(), (64, 96), STRONG, with_labels=True, seed=5)
    image = samples[0, 3].image
    samples[1, 2]
    assert (samples[0, 3].image == image).all()
    assert (samples[1, 3].image != image).any()


def test_labels_are_not_opened_when_not_asked_for(toy):
    samples = Samples(toy(forbid_labels=True), (64, 96), STRONG, with_labels=False, seed=0)
    assert samples[0, 0].label is None


def test_labels_follow_every_geometric_change(toy):
    """The toy's colours tell the class: after any zoom, crop and flip, image and label still agree."""
    augmentation = Augmentation(scale=(0.5, 2.0), flip=True, crop=(48, 64))
    samples = Samples(toy(), (64, 96), augmentation, with_labels=True, seed=0)
    channel = np.full(256, -1)
    channel[[0, 2, 10]] = [0, 1, 2]
    agreement = []
    for index in range(6):
        image, label = samples[0, index].image, samples[0, index].label
        agreement.append((image.argmax(-1) == channel[label]).mean())
        assert image.shape == (48, 64, 3) and label.shape == (48, 64)
    assert min(agreement) > 0.95  # interpolated band edges aside


def test_batches_on_the_device_are_floats_and_long_labels(toy):
    samples = Samples(toy(), (64, 96), Augmentation(), with_labels=True, seed=0)
    batch = next(Loading(samples, EpochSampler(6, 2, seed=0), 0))
    moved = batch.to(torch.device("cpu"))
    assert batch.image.dtype == torch.uint8 and moved.image.dtype == torch.float32
    assert torch.equal(moved.image, batch.image / 255) and moved.label.dtype == torch.int64
