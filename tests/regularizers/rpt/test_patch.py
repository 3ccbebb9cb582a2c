"""Patch consistency: its formula, its zero, and where its gradient goes."""

import math

import pytest
import torch

from da_toolkit.errors import UserError
from da_toolkit.regularizers.rpt.patch import Patch, region_loss
from da_toolkit.regularizers.rpt.regions import RegionRows, RegionTable


def table_of(probabilities, regions, counts):
    table = RegionTable(RegionRows(counts, torch.device("cpu")), probabilities.shape[1])
    table.add(torch.arange(len(counts)), regions, probabilities)
    return table


@pytest.fixture
def two_regions():
    """One image, two columns of pixels; region 0 is sure of class 1, region 1 is torn."""
    regions = torch.tensor([[[0, 1], [0, 1]]], dtype=torch.int32)
    sure = torch.tensor([[[0.05, 0.6], [0.03, 0.4]]])
    return torch.stack([sure, 1 - sure], dim=1), regions


def test_the_loss_is_the_mean_over_selected_pixels(two_regions):
    probabilities, regions = two_regions
    patch = Patch(threshold=0.9, share=0)
    labels = patch.labels(table_of(probabilities, regions, [2]))
    assert labels.tolist() == [1, 255, 255]
    loss = patch.loss(probabilities.log(), labels[regions.long()].long())
    assert loss.item() == pytest.approx(-(math.log(0.95) + math.log(0.97)) / 2)


def test_zero_on_a_map_that_is_constant_within_regions():
    regions = torch.randint(0, 6, (2, 8, 8), dtype=torch.int32)
    label = torch.tensor([3, 1, 0, 2, 2, 1])[regions.long()]
    logits = 200 * torch.nn.functional.one_hot(label, 4).permute(0, 3, 1, 2).float()
    table = table_of(logits.softmax(1), regions, [6, 6])
    for selection in ("mean_probability", "vote_share", "pixel"):
        patch = Patch(selection=selection)
        rows = table.rows.of(torch.arange(2), regions)
        assert (patch.labels(table)[rows] == label).all()
        assert patch.loss(logits.log_softmax(1), label) == 0


def test_the_gradient_touches_only_selected_regions(two_regions):
    probabilities, regions = two_regions
    logits = probabilities.log().requires_grad_()
    patch = Patch(threshold=0.9, share=0)
    labels = patch.labels(table_of(probabilities, regions, [2]))
    patch.loss(logits.log_softmax(1), labels[regions.long()].long()).backward()
    touched = (logits.grad != 0).any(1)[0]
    assert touched[:, 0].all() and not touched[:, 1].any()


def test_pixel_selection_asks_each_pixel(two_regions):
    probabilities, regions = two_regions
    patch = Patch(threshold=0.5, selection="pixel")
    labels = patch.labels(table_of(probabilities, regions, [2]))
    assert labels.tolist() == [1, 0, 255]  # every region has a label; a tie of votes goes to the lower class
    loss = patch.loss(probabilities.log(), labels[regions.long()].long())
    chosen = [0.95, 0.97, 0.6]  # the pixel at 0.4 is not sure enough
    assert loss.item() == pytest.approx(-sum(map(math.log, chosen)) / 3)


def test_nothing_selected_costs_nothing():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = region_loss(logits.log_softmax(1), torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_threshold_is_checked():
    with pytest.raises(UserError, match=r"lies in 0\.\.1"):
        Patch(threshold=1.5)
