import pytest
import torch

from da_toolkit.errors import UserError
from da_toolkit.recipe import SGD, AdamW, LearningRate, Optimizer
from da_toolkit.training.optim import build_optimizer, set_learning_rate


def test_poly_is_one_minus_progress_to_the_power():
    rate = LearningRate("poly", power=0.9, horizon=250_000)
    assert rate.multiplier(0, 120_000) == 1
    assert rate.multiplier(100_000, 120_000) == pytest.approx((1 - 100 / 250) ** 0.9)
    assert LearningRate().multiplier(5, 10) == pytest.approx(0.5**0.9)


def test_warm_up_then_cosine():
    rate = LearningRate("cosine", warmup=4)
    assert [rate.multiplier(step, 12) for step in (0, 1, 3)] == [0.25, 0.5, 1.0]
    assert rate.multiplier(8, 12) == pytest.approx(0.5)
    assert rate.multiplier(12, 12) == pytest.approx(0)
    assert LearningRate("constant").multiplier(7, 10) == 1


def test_a_shape_counted_from_the_start_has_the_warm_up_as_a_factor():
    """DAFormer's: after 1,500 of 40,000 steps the rate is on the line that leads to 0, not at its top."""
    rate = LearningRate("poly", power=1.0, warmup=1_500, counted_from="start")
    assert rate.multiplier(1_500, 40_000) == pytest.approx(0.9625, abs=1e-12)
    for step in (0, 3, 749, 1_499, 1_501, 20_000, 39_999):
        expected = (1 - step / 40_000) * min(1.0, (step + 1) / 1_500)
        assert rate.multiplier(step, 40_000) == pytest.approx(expected, abs=1e-12)
    assert LearningRate("poly", power=1.0, warmup=1_500).multiplier(1_500, 40_000) == 1
    assert LearningRate("constant", warmup=4, counted_from="start").multiplier(1, 9) == 0.5


def test_every_group_moves_with_its_own_base_rate():
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (1e-3, 1e-2)]
    optimizer = build_optimizer(SGD(lr=1e-3), groups)
    for multiplier in (0.5, 0.1):
        set_learning_rate(optimizer, multiplier)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
            [1e-3 * multiplier, 1e-2 * multiplier]
        )


def test_settings_reach_the_optimisers():
    parameters = [{"params": [torch.zeros(1, requires_grad=True)]}]
    sgd = build_optimizer(SGD(momentum=0.8, weight_decay=0.1), parameters)
    assert isinstance(sgd, torch.optim.SGD) and (sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.8, 0.1)
    assert build_optimizer(AdamW(), parameters).defaults["lr"] == 6e-5
    with pytest.raises(UserError, match=r"optimizer\.lr must be positive"):
        SGD(lr=0)


def test_settings_of_no_known_optimiser_are_refused_and_can_be_registered():
    class Mine(Optimizer):
        pass

    groups = [{"params": [torch.zeros(1, requires_grad=True)]}]
    with pytest.raises(UserError, match="Mine cannot be built"):
        build_optimizer(Mine(), groups)
    build_optimizer.register(Mine, lambda settings, groups: torch.optim.RMSprop(groups, lr=settings.lr))
    assert isinstance(build_optimizer(Mine(), groups), torch.optim.RMSprop)
