"""torch's optimisers as a recipe's settings describe them, and their learning rates."""

from functools import singledispatch
from typing import Any

import torch

from da_toolkit.errors import UserError
from da_toolkit.settings.optim import SGD, AdamW, Optimizer


@singledispatch
def build_optimizer(settings: Optimizer, groups: list[dict]) -> torch.optim.Optimizer:
    """The optimiser of parameter groups that each have a rate "lr" of their own.

    Raises `UserError` for settings that nothing is registered for (`build_optimizer.register`).
    """
    raise UserError(
        f"optimizer: {type(settings).__name__} cannot be built. Use SGD or AdamW, or register a function that "
        "builds it with da_toolkit.training.optim.build_optimizer.register."
    )


@build_optimizer.register
def _sgd(settings: SGD, groups: list[dict]) -> torch.optim.Optimizer:
    decay, momentum = settings.weight_decay, settings.momentum
    kind = RepeatedSGD if any(group.get("repeats", 1) > 1 for group in groups) else torch.optim.SGD
    return kind(groups, lr=settings.lr, momentum=momentum, weight_decay=decay)


@build_optimizer.register
def _adamw(settings: AdamW, groups: list[dict]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)


class RepeatedSGD(torch.optim.SGD):
    """Each step moves a group's parameters "repeats" times (1 where it says nothing) by the same gradients.

    That is what an optimiser does that holds a parameter so often: k updates one after the other, which share one
    momentum buffer, each with the weight decay of the weights that the one before left.
    """

    def step(self, closure: Any = None) -> Any:
        """torch's step, and those of the groups that move again."""
        loss = super().step(closure)
        every = self.param_groups
        try:
            for done in range(1, max(group.get("repeats", 1) for group in every)):
                self.param_groups = [group for group in every if group.get("repeats", 1) > done]
                super().step()
        finally:
            self.param_groups = every
        return loss


def set_learning_rate(optimizer: torch.optim.Optimizer, multiplier: float) -> None:
    """Scale each group's own base rate, remembered on first use."""
    for group in optimizer.param_groups:
        group.setdefault("base_lr", group["lr"])
        group["lr"] = group["base_lr"] * multiplier
