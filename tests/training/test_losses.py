"""What is no loss is told, also beside others that are; 0 without a gradient is a term that has nothing to say."""

import math

import pytest
import torch

from da_toolkit.errors import UserError
from da_toolkit.training.losses import summed

WEIGHT = torch.ones((), requires_grad=True)


def test_a_number_without_a_gradient_beside_a_loss_is_told_by_name():
    losses = {"seg": 2 * WEIGHT, "agreement": torch.tensor(0.3), "idle": torch.zeros(()), "bias": -torch.ones(())}
    with pytest.raises(UserError, match=r"^The loss 'agreement', 'bias' does not depend on the network, so it would"):
        summed(losses, "the network")


@pytest.mark.parametrize("silent", [0.0, -0.0, math.nan])
def test_a_term_may_give_zero_or_the_nan_of_no_pixels_for_a_step(silent):
    total = summed({"seg": 2 * WEIGHT, "later": torch.tensor(silent)}, "the network")
    (slope,) = torch.autograd.grad(total, WEIGHT)
    assert slope == 2 and (total == 2 or math.isnan(silent))


def test_without_any_gradient_even_zeros_are_told():
    with pytest.raises(UserError, match=r"^No loss \(one, two\) depends on the terms' own players"):
        summed({"one": torch.zeros(()), "two": torch.zeros(())}, "the terms' own players")
