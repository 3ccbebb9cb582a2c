"""What terms give under names: joined into one dictionary, and losses into the one number that a learner lowers."""

import math
from collections.abc import Collection, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from da_toolkit.errors import UserError
from da_toolkit.terms.term import Term

T = TypeVar("T")
_REMEDY = "compute it from what comes out there, without `detach`, `no_grad` or `argmax` on the way"


def merged(terms: Sequence[Term], parts: Sequence[dict[str, T]]) -> dict[str, T]:
    """One dictionary of all terms' losses, numbers or figures. Raises `UserError` if two share a name."""
    merged: dict[str, T] = {}
    owners: dict[str, str] = {}
    for term, named in zip(terms, parts, strict=True):
        owner = type(term).__name__
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named):
            raise UserError(
                f"The losses, numbers or figures of {owner} must be a dictionary, name -> value; got {named!r}."
            )
        for name in named:
            if name in owners:
                raise UserError(
                    f"{owners[name]} and {owner} both name something {name!r}: rename it in one, or leave one out."
                )
            owners[name] = owner
        merged |= named
    return merged


def check_losses(losses: dict[str, Tensor]) -> None:
    """Raises `UserError` for what is no tensor of one number."""
    for name, loss in losses.items():
        if not isinstance(loss, Tensor):
            raise UserError(
                f"The loss {name!r} is {loss!r}, and a loss is a tensor of one number: let the term that gives it "
                "compute it with torch, without .item()."
            )
        if loss.ndim:
            raise UserError(
                f"The loss {name!r} has the shape {tuple(loss.shape)}, and a loss is one number: let the term that "
                "gives it return its mean."
            )


def check_trained(losses: dict[str, Tensor], training: Collection[str], learner: str) -> None:
    """Raises `UserError` where not all named losses are losses of the learner, such as "the network".

    Args:
        training: names of those that have a gradient.
    """
    if not training:
        raise UserError(f"No loss ({', '.join(losses)}) depends on {learner}, so nothing would be trained: {_REMEDY}.")
    constant = {name: loss.item() for name, loss in losses.items() if name not in training}
    # A term that has not begun, or found no pixel, may give 0 or NaN for it; any other number means to train something.
    if dead := [name for name, value in constant.items() if value and math.isfinite(value)]:
        raise UserError(
            f"The loss {', '.join(map(repr, dead))} does not depend on {learner}, so it would train nothing beside the "
            f"others: {_REMEDY}; or leave it out. One that has nothing to say in a step is left out too, or 0."
        )


def summed(losses: dict[str, Tensor], learner: str) -> Tensor:
    """The sum of named losses. Raises `UserError` as `check_losses` and `check_trained` do."""
    check_losses(losses)
    check_trained(losses, [name for name, loss in losses.items() if loss.requires_grad], learner)
    return torch.stack(list(losses.values())).sum()
