"""Spatial logic: what it is trained on, what it finds illogical, and its penalty."""

import math

import pytest
import torch
from torch.nn import functional as F

from da_toolkit.data.labels import CITYSCAPES19, IGNORE
from da_toolkit.data.streets import Streets
from da_toolkit.regularizers.rpt.logic import (
    LogicModel,
    SpatialLogic,
    logic_loss,
    majority_grid,
    source_columns,
    to_columns,
    train_logic,
)

SKY, ROAD = CITYSCAPES19.index("sky"), CITYSCAPES19.index("road")


@pytest.fixture(scope="module")
def streets_logic():
    """A logic model of the street world's source columns, 16 positions high, its quality, and unseen columns."""
    data = Streets(frames=80)
    settings = SpatialLogic(weight=1.0, steps=200)
    train, val = data.build("train"), data.build("val")
    columns = source_columns((train.label(i) for i in range(80)), settings, 19, torch.device("cpu"))
    assert columns.shape == (80 * 32, 16)
    unseen = source_columns((val.label(i) for i in range(10)), settings, 19, torch.device("cpu"))
    return settings, *train_logic(settings, columns, 19, seed=0), unseen


def probabilities_of(columns, sure=0.9):
    """[1,19,128,W]: pixels that give their category in columns [W/8,16] the probability `sure`."""
    rest = (1 - sure) / 18
    each = rest + (sure - rest) * F.one_hot(columns, 19).float()  # [w,16,19]
    return each.permute(2, 1, 0)[None].repeat_interleave(8, 2).repeat_interleave(8, 3).requires_grad_()


def test_majority_of_each_cell():
    label = torch.tensor([[1, 1, 255, 255], [2, 1, 255, 255], [0, 255, 3, 2], [255, 255, 2, 2]])[None]
    assert majority_grid(label, 2, 4).tolist() == [[[1, IGNORE], [0, 2]]]
    assert to_columns(torch.tensor([[[1, 2], [3, 4], [5, 6]]])).tolist() == [[1, 3, 5], [2, 4, 6]]


def test_masked_positions_are_not_read():
    model = LogicModel(4, 8)
    masked = torch.tensor([[False, True, True, False]])
    outputs = [model(torch.tensor([[0, *middle, 3]]), masked) for middle in ((1, 2), (3, 0))]
    torch.testing.assert_close(*outputs)
    other = model(torch.tensor([[1, 1, 2, 3]]), masked)
    assert (other != outputs[0]).any()


def test_each_position_is_judged_by_the_rest_of_its_column():
    torch.manual_seed(0)
    model, columns = LogicModel(4, 8).eval(), torch.randint(0, 4, (3, 7))
    columns[1, 2] = IGNORE
    found = model.plausibility(columns, span=3)
    for n in range(3):
        for i in range(7):
            masked = torch.zeros(1, 7, dtype=torch.bool)
            masked[0, i // 3 * 3 : i // 3 * 3 + 3] = True
            p = model(columns[n : n + 1], masked)[0, i].softmax(0)
            expected = 1.0 if columns[n, i] == IGNORE else p[columns[n, i]].item()
            assert found[n, i].item() == pytest.approx(expected, rel=1e-4)


def test_true_columns_are_told_from_shuffled_ones(streets_logic):
    _, _, quality, _ = streets_logic
    assert quality["auc"] > 0.95 and quality["accuracy"] > 0.7


def test_unseen_columns_are_logical_and_sky_below_the_road_is_not(streets_logic):
    settings, model, _, unseen = streets_logic
    illogical = model.lift(unseen, settings.span) < settings.threshold
    for thing in unseen.unique().tolist():
        if thing != IGNORE:  # rare ones too: an absolute threshold calls most of them illogical
            assert illogical[unseen == thing].float().mean() < 0.25, thing
    broken = unseen[(unseen[:, -4:] == ROAD).all(1)].clone()
    assert len(broken) > 50
    broken[:, -3:-1] = SKY
    low = model.lift(broken, settings.span) < settings.threshold
    assert low[:, -3:-1].float().mean() > 0.95


def test_the_penalty_is_the_mean_over_all_positions_of_what_illogical_ones_cost(streets_logic):
    settings, model, _, unseen = streets_logic
    columns = unseen[(unseen[:, -4:] == ROAD).all(1)][:6].clone()
    columns[:3, -3:-1] = SKY
    expected = (model.lift(columns, settings.span) < settings.threshold).t()
    assert 6 <= expected.sum() < 40
    probabilities = probabilities_of(columns)
    loss, illogical = logic_loss(settings, model, probabilities)
    assert (illogical[0] == expected).all()
    share = expected.float().mean().item()
    assert loss.item() == pytest.approx(-math.log(0.1) * share, rel=1e-4)
    loss.backward()
    touched = (probabilities.grad != 0).any(1)[0]
    assert (touched == expected.repeat_interleave(8, 0).repeat_interleave(8, 1)).all()
    raw = logic_loss(SpatialLogic(weight=1.0, penalty="log"), model, probabilities)[0]
    assert raw.item() == pytest.approx(math.log(0.9) * share, rel=1e-4)


def test_a_logical_prediction_costs_nothing(streets_logic):
    settings, model, _, unseen = streets_logic
    logical = (model.lift(unseen, settings.span) >= settings.threshold).all(1)
    loss, illogical = logic_loss(settings, model, probabilities_of(unseen[logical][:20]))
    loss.backward()
    assert loss == 0 and not illogical.any()


def test_the_seed_decides_and_a_class_absent_from_the_source_is_no_error():
    columns = torch.tensor([[0] * 4 + [1] * 4, [0] * 3 + [1] * 5]).repeat(40, 1)
    settings = SpatialLogic(weight=1.0, steps=60, width=16, span=2)
    one, quality = train_logic(settings, columns, 5, 0)
    other, _ = train_logic(settings, columns, 5, 0)
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    absent = columns[:1].clone()
    absent[0, 3] = 4
    assert one.plausibility(absent, 2)[0, 3] < 0.1 and quality["accuracy"] > 0.8
    nothing, quality = train_logic(settings, torch.full((4, 8), IGNORE), 5, 0)
    assert math.isnan(quality["auc"])
    assert (nothing.plausibility(torch.full((1, 8), IGNORE), 2) == 1).all()
