"""Flips, scales and windows against the same averages written out, with toy networks."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.evaluation.inference import Evaluation, predict, predict_probabilities
from da_toolkit.models.segmenter import Output, Segmenter

CLASSES = 4


class Pointwise(Segmenter):
    """Each pixel decides for itself, so flips and windows change nothing."""

    num_classes = CLASSES

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.sizes: list[tuple[int, ...]] = []
        self.weight = nn.Parameter(torch.randn(CLASSES, 3, 1, 1, generator=torch.Generator().manual_seed(0)) * 5)

    def forward(self, images: Tensor) -> Output:
        self.sizes.append(tuple(images.shape[2:]))
        logits = F.conv2d(images[..., :: self.stride, :: self.stride], self.weight)
        return Output(logits, None, images)


class Leaning(Pointwise):
    """Adds the column number to class 0, so left and right differ."""

    def forward(self, images: Tensor) -> Output:
        output = super().forward(images)
        ramp = torch.linspace(-2, 2, output.logits.shape[3])
        return output._replace(logits=output.logits + F.one_hot(torch.tensor(0), CLASSES).view(-1, 1, 1) * ramp)


def pictures(height: int = 12, width: int = 20) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def upsampled(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with corners not aligned, written as a loop: pixel centres, clamped at the border."""
    batch, classes, height, width = logits.shape
    result = torch.zeros(batch, classes, *size, dtype=torch.float64)
    for row in range(size[0]):
        y = max((row + 0.5) * height / size[0] - 0.5, 0)
        top = min(int(y), height - 1)
        bottom, down = min(top + 1, height - 1), y - top
        for column in range(size[1]):
            x = max((column + 0.5) * width / size[1] - 0.5, 0)
            left = min(int(x), width - 1)
            right, along = min(left + 1, width - 1), x - left
            above = logits[:, :, top, left] * (1 - along) + logits[:, :, top, right] * along
            below = logits[:, :, bottom, left] * (1 - along) + logits[:, :, bottom, right] * along
            result[:, :, row, column] = above * (1 - down) + below * down
    return result


@pytest.mark.parametrize("out_size", [(12, 20), (24, 40), (31, 17)])
def test_one_view_is_the_argmax_of_upsampled_logits(out_size: tuple[int, int]) -> None:
    model = Pointwise(stride=4)
    expected = upsampled(model(pictures()).logits.detach().double(), out_size)
    probabilities = predict_probabilities(model, pictures(), Evaluation(), out_size)
    torch.testing.assert_close(probabilities, expected.softmax(1).float(), rtol=1e-5, atol=1e-6)
    assert torch.equal(predict(model, pictures(), Evaluation(), out_size), expected.argmax(1))


def test_a_flip_changes_nothing_for_a_network_that_does_not_care() -> None:
    model = Pointwise()
    single = predict_probabilities(model, pictures(), Evaluation(), (24, 40))
    torch.testing.assert_close(predict_probabilities(model, pictures(), Evaluation(flip=True), (24, 40)), single)


def test_a_flip_is_the_mean_with_the_mirrored_view() -> None:
    model, images = Leaning(), pictures()
    seen = model(images).logits.softmax(1)
    mirrored = model(images.flip(3)).logits.softmax(1).flip(3)
    assert (seen - mirrored).abs().max() > 0.1
    settings = Evaluation(flip=True)
    averaged = predict_probabilities(model, images, settings, (12, 20))
    torch.testing.assert_close(averaged, (seen + mirrored) / 2)
    assert torch.equal(predict(model, images, settings, (12, 20)), ((seen + mirrored) / 2).argmax(1))


def test_scales_and_flips_are_averaged_as_probabilities() -> None:
    model, images, out_size = Leaning(), pictures(), (24, 40)
    views = []
    for size in ((6, 10), (12, 20), (18, 30)):
        view = F.interpolate(images, size=size, mode="bilinear", antialias=size[0] < 12)
        for flip in (False, True):
            logits = model(view.flip(3) if flip else view).logits.detach().double()
            probabilities = upsampled(logits, out_size).softmax(1)
            views.append(probabilities.flip(3) if flip else probabilities)
    settings = Evaluation(scales=(0.5, 1.0, 1.5), flip=True)
    averaged = predict_probabilities(model, images, settings, out_size)
    torch.testing.assert_close(averaged, torch.stack(views).mean(0).float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(averaged.sum(1), torch.ones(2, *out_size))


def test_a_single_scale_other_than_one_is_used() -> None:
    model = Pointwise()
    predict(model, pictures(), Evaluation(scales=(0.5,)), (12, 20))
    assert model.sizes == [(6, 10)]


@pytest.mark.parametrize(("window", "stride"), [((5, 7), None), ((5, 7), (5, 7)), ((4, 20), (1, 3)), ((99, 99), None)])
def test_windows_change_nothing_for_a_pointwise_network(
    window: tuple[int, int], stride: tuple[int, int] | None
) -> None:
    model, images = Pointwise(), pictures()
    whole = predict_probabilities(model, images, Evaluation(), (24, 40))
    model.sizes.clear()
    settings = Evaluation(window=window, stride=stride)
    torch.testing.assert_close(predict_probabilities(model, images, settings, (24, 40)), whole)
    assert set(model.sizes) == {(min(window[0], 12), min(window[1], 20))}


def test_overlapping_windows_are_averaged_by_their_number() -> None:
    model, images = Leaning(), pictures(8, 11)
    total, counts = torch.zeros(2, CLASSES, 8, 11), np.zeros((8, 11))
    for top in (0, 2):
        for left in (0, 4, 5):  # the last window is moved back to the border
            total[:, :, top : top + 6, left : left + 6] += model(images[:, :, top : top + 6, left : left + 6]).logits
            counts[top : top + 6, left : left + 6] += 1
    expected = (total / torch.from_numpy(counts).float()).softmax(1)
    settings = Evaluation(window=(6, 6))
    torch.testing.assert_close(predict_probabilities(model, images, settings, (8, 11)), expected)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"scales": ()}, "evaluation.scales"),
        ({"scales": (1.0, 0.0)}, "evaluation.scales"),
        ({"scales": (float("nan"),)}, "evaluation.scales"),
        ({"size": (0, 8)}, "evaluation.size"),
        ({"window": (8,)}, "evaluation.window"),
        ({"window": (8, 8), "stride": (0, 8)}, "evaluation.stride"),
        ({"window": (8, 8), "stride": (4, 9)}, "evaluation.stride"),
        ({"stride": (4, 4)}, "evaluation.window"),
        ({"batch_size": 0}, "evaluation.batch_size"),
        ({"every": -1}, "evaluation.every"),
        ({"images": 0}, "evaluation.images"),
    ],
)
def test_wrong_values_name_their_setting(values: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        Evaluation(**values)
