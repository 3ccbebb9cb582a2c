"""What terms give under names: joined into one dictionary, and losses into the one number that a learner lowers."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from da_toolkit.errors import UserError
from da_toolkit.terms.term import Term

T = TypeVar("T")


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


def summed(losses: dict[str, Tensor], learner: str) -> Tensor:
    """The sum of named losses. Raises `UserError` for what is no loss of the learner, such as "the network"."""
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
    together = torch.stack(list(losses.values())).sum()
    if not together.requires_grad:
        raise UserError(
            f"No loss ({', '.join(losses)}) depends on {learner}, so nothing would be trained: compute one "
            "from what comes out there, without `detach` or `no_grad` on the way."
        )
    return together
