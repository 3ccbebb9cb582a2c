"""A split's confusion matrix: full-resolution labels, uneven shards, and what evaluation leaves behind."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.data.domain import DomainData
from da_toolkit.data.labels import LabelSpace
from da_toolkit.data.transforms import resized
from da_toolkit.errors import UserError
from da_toolkit.evaluation.evaluate import evaluate
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.models.segmenter import Output, Segmenter

SPACE = LabelSpace("primaries", ("red", "green", "blue"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
CPU = torch.device("cpu")


class Pictures(DomainData):
    """Random pictures of the given sizes; some label pixels are ignored."""

    def __init__(self, sizes: list[tuple[int, int]], has_labels: bool = True, broken: int = -1) -> None:
        super().__init__("Pictures", "val", SPACE, has_labels)
        self.sizes, self.broken = sizes, broken
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.sizes)

    def key(self, index: int) -> str:
        return str(index)

    def image(self, index: int) -> np.ndarray:
        if index == self.broken:
            raise UserError(f"The file {index}.png cannot be read.")
        self.read.append(index)
        return np.random.default_rng(index).integers(0, 256, (*self.sizes[index], 3), dtype=np.uint8)

    def label(self, index: int) -> np.ndarray:
        ids = np.array([0, 1, 2, 255], dtype=np.uint8)
        return np.random.default_rng(1000 + index).choice(ids, self.sizes[index])


class Brightest(Segmenter):
    """Predicts the brightest channel; remembers how it was called."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.free = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.modes: list[bool] = []
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Output:
        self.modes.append(self.training or self.frozen.training or self.free.training)
        self.shapes.append(tuple(images.shape))
        return Output(images, None, images)


def expected_counts(data: Pictures, indices: range, size: tuple[int, int]) -> np.ndarray:
    """One image at a time, with numpy alone after the resizing."""
    counts = np.zeros((3, 3), dtype=np.int64)
    for index in indices:
        image, label = data.image(index), data.label(index)
        image = resized(image, size)
        scores = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        decided = F.interpolate(scores, size=label.shape, mode="bilinear")[0].numpy().argmax(0)
        for true in range(3):
            for guess in range(3):
                counts[true, guess] += ((label == true) & (decided == guess)).sum()
    return counts


def run(data: Pictures, settings: Evaluation, size: tuple[int, int] = (8, 12), **more: Any) -> Tensor:
    return evaluate(Brightest(), data, settings, size, CPU, **more)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_labels_of_several_sizes_are_scored_at_full_resolution(batch_size: int) -> None:
    data = Pictures([(16, 24), (16, 24), (14, 20), (16, 24), (16, 24), (16, 24), (16, 24)])
    counts = run(data, Evaluation(batch_size=batch_size))
    for index in range(7):
        np.testing.assert_array_equal(counts[index].numpy(), expected_counts(data, range(index, index + 1), (8, 12)))
    assert counts.sum() == sum((data.label(index) != 255).sum() for index in range(7))


def test_every_view_setting_reaches_the_network() -> None:
    data, model = Pictures([(16, 24)] * 2), Brightest()
    settings = Evaluation(size=(10, 14), flip=True, scales=(1.0, 0.5), window=(5, 14), batch_size=2)
    evaluate(model, data, settings, (8, 12), CPU)
    # Tops 0, 3 and 5 for either side; at half size one window covers the image.
    assert model.shapes == [(2, 3, 5, 14)] * 6 + [(2, 3, 5, 7)] * 2


@pytest.mark.parametrize("world", [2, 3, 5, 9])
def test_uneven_shards_sum_to_the_whole(world: int) -> None:
    data = Pictures([(16, 24)] * 7)
    whole = run(data, Evaluation(batch_size=2))
    shards = [run(data, Evaluation(batch_size=2), rank=rank, world=world) for rank in range(world)]
    assert torch.equal(torch.stack(shards).sum(0), whole)
    calls: list[Tensor] = []

    def reduce(own: Tensor) -> Tensor:
        calls.append(own)
        return whole

    reduced = run(data, Evaluation(), rank=0, world=world, reduce=reduce)
    assert reduced is whole and len(calls) == 1 and torch.equal(calls[0], shards[0])


def test_the_limit_comes_before_the_shards_and_progress_counts_images() -> None:
    data, seen = Pictures([(16, 24)] * 9), []
    run(
        data,
        Evaluation(images=5, batch_size=2),
        rank=1,
        world=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert sorted(data.read) == [1, 3] and seen == [(2, 2)]
    seen.clear()
    run(data, Evaluation(batch_size=4), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 9), (8, 9), (9, 9)]


def test_each_modules_training_mode_comes_back() -> None:
    model = Brightest().train()
    model.frozen.eval()
    evaluate(model, Pictures([(16, 24)]), Evaluation(), (8, 12), CPU)
    assert model.modes == [False]
    assert (model.training, model.frozen.training, model.free.training) == (True, False, True)


def test_a_broken_file_is_reported_and_the_training_mode_still_comes_back() -> None:
    model = Brightest().train()
    with pytest.raises(UserError, match=r"30\.png"):
        evaluate(model, Pictures([(16, 24)] * 40, broken=30), Evaluation(batch_size=2), (8, 12), CPU)
    assert model.training and model.free.training


def test_reading_ahead_is_bounded() -> None:
    data, most = Pictures([(16, 24)] * 60), []
    run(data, Evaluation(batch_size=2), progress=lambda done, total: most.append(len(data.read) - done))
    assert max(most) <= 8


def test_a_split_without_labels_or_with_other_classes_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="Pictures val has no labels"):
        run(Pictures([(16, 24)], has_labels=False), Evaluation())
    model = Brightest()
    model.num_classes = 19
    with pytest.raises(UserError, match="between 19 classes, but Pictures val is labelled in primaries with 3"):
        evaluate(model, Pictures([(16, 24)]), replace(Evaluation(), flip=True), (8, 12), CPU)
