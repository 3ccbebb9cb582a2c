"""torch's optimisers as a recipe's settings describe them, and their learning rates."""

from functools import singledispatch

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
    return torch.optim.SGD(groups, lr=settings.lr, momentum=momentum, weight_decay=decay)


@build_optimizer.register
def _adamw(settings: AdamW, groups: list[dict]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, multiplier: float) -> None:
    """Scale each group's own base rate, remembered on first use."""
    for group in optimizer.param_groups:
        group.setdefault("base_lr", group["lr"])
        group["lr"] = group["base_lr"] * multiplier
