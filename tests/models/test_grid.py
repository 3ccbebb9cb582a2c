"""Both arrangements of a network's positions against loops; training and evaluation take the network's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from da_toolkit.data.batch import Batch
from da_toolkit.evaluation.inference import Inference, predict, predict_probabilities
from da_toolkit.evaluation.validators import _probabilities
from da_toolkit.methods.class_adversarial import class_encoding
from da_toolkit.methods.feature_distance import class_shares
from da_toolkit.methods.prototypes import decided
from da_toolkit.models.grid import enlarged, enlarged_rows, nearest, pooled, summarized
from da_toolkit.models.segmenter import Output, Segmenter
from da_toolkit.models.teacher import Teacher
from da_toolkit.regularizers.rpt.cluster import feature_pass
from da_toolkit.terms.step import Step, View

SIDES = st.integers(1, 40)


def place(pixel, pixels, positions, aligned):
    """Where a pixel lies among positions, as a fraction of their steps."""
    if aligned:
        return pixel * (positions - 1) / max(1, pixels - 1)
    return min(max((pixel + 0.5) * positions / pixels - 0.5, 0), positions - 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(-3, 20), st.booleans(), st.integers(0, 99))
def test_a_position_stands_for_the_commonest_label_of_its_pixels(positions, more, aligned, seed):
    pixels = (max(1, positions + more), max(1, positions + 2 * more))
    labels = torch.randint(0, 4, (2, *pixels), generator=torch.Generator().manual_seed(seed))
    labels = labels.where(labels < 3, 255)
    size = (positions, positions + 1)
    owners = [
        [owner(pixel, side, length, aligned) for pixel in range(side)]
        for side, length in zip(pixels, size, strict=True)
    ]
    found = summarized(labels, size, aligned, 3)
    for image, y, x in torch.cartesian_prod(torch.arange(2), *map(torch.arange, size)).tolist():
        own = [
            labels[image, row, column].item()
            for row in range(pixels[0])
            for column in range(pixels[1])
            if (owners[0][row], owners[1][column]) == (y, x) and labels[image, row, column] != 255
        ]
        most = max(map(own.count, own), default=0)
        assert found[image, y, x] == min((value for value in own if own.count(value) == most), default=255)


def owner(pixel, pixels, positions, aligned):
    """The position that a pixel belongs to: the nearest one, or that whose cell it lies in."""
    return int(place(pixel, pixels, positions, aligned) + 0.5 + 1e-9) if aligned else pixel * positions // pixels


def test_floats_are_summarized_by_their_mean():
    weights = torch.rand(2, 6, 8)
    expected = weights.view(2, 3, 2, 4, 2).mean((2, 4))
    torch.testing.assert_close(summarized(weights, (3, 4), False, 3), expected)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.booleans(), st.integers(0, 99))
def test_enlarging_is_linear_between_positions(positions, more, aligned, seed):
    pixels = positions + more
    maps = torch.randn(1, 1, positions, positions, generator=torch.Generator().manual_seed(seed))
    found = enlarged(maps, (pixels, pixels), aligned)[0, 0]
    for pixel in range(0, pixels, max(1, pixels // 5)):
        at = place(pixel, pixels, positions, aligned)
        low = min(int(at), positions - 1)
        high, share = min(low + 1, positions - 1), at - low
        for other in (0, pixels - 1):  # of which aligned ones are positions themselves
            across = place(other, pixels, positions, aligned)
            first = min(int(across), positions - 1)
            second, along = min(first + 1, positions - 1), across - first
            left = maps[0, 0, low, first] * (1 - share) + maps[0, 0, high, first] * share
            right = maps[0, 0, low, second] * (1 - share) + maps[0, 0, high, second] * share
            expected = left * (1 - along) + right * along
            assert found[pixel, other].item() == pytest.approx(expected.item(), abs=1e-4)


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, st.integers(0, 99))
def test_pooling_is_the_mean_over_the_pixels_nearest_to_a_position(positions, more, seed):
    pixels = positions + more
    owner = nearest(pixels, positions, True)
    assert owner[0] == 0 and owner[-1] == positions - 1 and owner.diff().min() >= 0
    for pixel in range(pixels):
        at = place(pixel, pixels, positions, True)
        assert abs(at - owner[pixel].item()) <= 0.5 + 1e-9
    maps = torch.randn(2, 3, pixels, 2 * pixels, generator=torch.Generator().manual_seed(seed))
    across = nearest(2 * pixels, positions, True)
    found = pooled(maps, (positions, positions), True)
    for y in {0, positions // 2, positions - 1}:
        for x in {0, positions // 3, positions - 1}:
            cell = maps[:, :, owner == y][:, :, :, across == x]
            torch.testing.assert_close(found[:, :, y, x], cell.mean((2, 3)), atol=1e-5, rtol=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_pooling_of_as_many_or_more_positions_than_pixels_keeps_values(positions, fewer, width):
    pixels = max(1, positions - fewer + 1)
    maps = torch.randn(1, 2, pixels, width)
    found = pooled(maps, (positions, width), True)
    torch.testing.assert_close(found, maps[:, :, nearest(positions, pixels, True)])


@given(SIDES, SIDES)
def test_by_cells_every_position_has_its_share(positions, times):
    owner = nearest(positions * times, positions, False)
    assert owner.tolist() == [position for position in range(positions) for _ in range(times)]


def test_pooling_is_in_full_precision_within_autocast():
    maps = torch.rand(1, 1, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pooled(maps, (9, 9), True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pooled(maps, (9, 9), True))


class Aligned(Segmenter):
    """Every fourth pixel of an odd grid: its corners are the image's."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(5.0))

    def forward(self, images):
        coarse = self.scale * images[..., ::4, ::4]
        return Output(coarse, coarse[..., ::2, ::2], coarse, align_corners=True)


IMAGES = torch.rand(2, 3, 17, 33, generator=torch.Generator().manual_seed(4))


def by_hand(maps, size):
    """Bilinear with corners aligned: two matrices of tents around the positions."""
    rows, columns = (
        torch.tensor(
            [
                [max(0.0, 1 - abs(place(pixel, pixels, positions, True) - position)) for position in range(positions)]
                for pixel in range(pixels)
            ]
        )
        for pixels, positions in zip(size, maps.shape[2:], strict=True)
    )
    return rows @ maps @ columns.t()


def test_everything_that_asks_a_network_lays_its_maps_as_the_network_does():
    network = Aligned().eval()
    coarse = network(IMAGES).logits.detach()
    wanted = by_hand(coarse, (17, 33))
    torch.testing.assert_close(wanted[..., ::4, ::4], coarse)  # positions keep their values where they lie
    step = Step(network, Batch(IMAGES, None, torch.arange(2)), None)
    torch.testing.assert_close(step.source.logits(), wanted)
    torch.testing.assert_close(step.source.logits("aux"), by_hand(coarse[..., ::2, ::2], (17, 33)))
    torch.testing.assert_close(Teacher(network).probabilities(IMAGES), wanted.softmax(1))
    torch.testing.assert_close(_probabilities(network, IMAGES), wanted.softmax(1))
    full = by_hand(coarse, (50, 70))
    torch.testing.assert_close(predict_probabilities(network, IMAGES, Inference(), (50, 70)), full.softmax(1))
    assert (predict(network, IMAGES, Inference(), (50, 70)) == full.argmax(1)).float().mean() > 0.999
    flipped = predict_probabilities(network, IMAGES, Inference(flip=True), (50, 70))
    mirrored = by_hand(network(IMAGES.flip(3)).logits.detach(), (50, 70)).softmax(1).flip(3)
    torch.testing.assert_close(flipped, (full.softmax(1) + mirrored) / 2)


def test_windows_are_laid_so_too_and_are_pixels_once_put_together():
    network, window = Aligned().eval(), Inference(window=(17, 17), stride=(17, 16))
    with torch.no_grad():
        total, counts = torch.zeros(2, 3, 17, 33), torch.zeros(33)
        for left in (0, 16):
            part = by_hand(network(IMAGES[..., left : left + 17]).logits, (17, 17))
            total[..., left : left + 17] += part
            counts[left : left + 17] += 1
        found = predict_probabilities(network, IMAGES, window, (34, 66))
    torch.testing.assert_close(found, enlarged(total / counts, (34, 66), False).softmax(1))


def test_terms_that_go_to_the_features_grid_find_it_where_it_is():
    network = Aligned()
    view = View(network, Batch(IMAGES, None, torch.arange(2)))
    torch.testing.assert_close(decided(view), pooled(view.probabilities(), (5, 9), True).argmax(1))
    label = torch.full((1, 17, 33), 1)
    label[:, :2, :2] = 0  # the pixels nearest to the first position, with its neighbours' share
    assert class_shares(label, 2, (5, 9), True)[0, 0, 0, 0] == 1
    assert class_shares(label, 2, (5, 9))[0, 0, 0, 0] < 1
    small = class_encoding(view.output.logits, (17, 33), 1.8, 0.9, True)
    torch.testing.assert_close(small, (by_hand(view.output.logits, (17, 33)) / 1.8).softmax(1).clamp(max=0.9))


def test_regions_have_the_features_of_the_positions_nearest_to_them():
    class Features(torch.nn.Module):
        align_corners = True

        def forward(self, images):
            return [images[..., ::4, ::4]]

    regions = torch.zeros(1, 17, 33, dtype=torch.int32)
    regions[:, :2, :2] = 1  # those of the first position alone
    batch = Batch(IMAGES[:1], None, torch.arange(1), regions=regions)
    ((index, found),) = feature_pass(Features(), [batch], [2])
    corner = IMAGES[0, :, 0, 0]
    assert index == 0
    torch.testing.assert_close(torch.from_numpy(found[1]), corner / corner.norm())


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("size", [(37, 50), (5, 9), (1, 1), (90, 3)])
def test_rows_are_those_of_the_whole(aligned, size):
    maps = torch.randn(2, 3, 7, 11, generator=torch.Generator().manual_seed(0))
    whole = enlarged(maps, size, aligned)
    step = max(1, size[0] // 3)
    bands = [enlarged_rows(maps, size, aligned, top, min(top + step, size[0])) for top in range(0, size[0], step)]
    torch.testing.assert_close(torch.cat(bands, 2), whole)


def test_large_images_are_decided_band_by_band_as_in_one_piece(monkeypatch):
    from da_toolkit.evaluation import inference
    from da_toolkit.models import LightDeepLabV3Plus

    network = LightDeepLabV3Plus("test_resnet", weights="none", width=8).build(5).eval()
    with torch.inference_mode():
        flipped = Inference(flip=True)
        whole = predict_probabilities(network, IMAGES, flipped, (50, 70))
        monkeypatch.setattr(inference, "BAND", 4 * 5 * 70 * 7)  # seven rows
        torch.testing.assert_close(predict_probabilities(network, IMAGES, flipped, (50, 70)), whole)
