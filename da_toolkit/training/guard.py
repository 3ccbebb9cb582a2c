"""Numbers that went wrong: seen before an optimiser steps on them, and said where they came from."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from da_toolkit.data.batch import Batch
from da_toolkit.errors import UserError
from da_toolkit.ranks.parallel import sum_over_ranks

Batches = tuple[Batch | None, Batch | None]


class NotFinite(UserError):
    """A step whose losses or gradients are NaN or infinite; the weights are those before it.

    Args:
        step: optimiser steps done before it.
        losses: this rank's, by name.
        batches: the source and target batches that it was made of.
    """

    def __init__(self, step: int, losses: dict[str, Tensor], batches: Sequence[Batches]) -> None:
        self.step, self.batches = step, batches
        values = {name: loss.item() for name, loss in losses.items()}
        bad = [f"{name} is {value}" for name, value in values.items() if not np.isfinite(value)]
        self.found = f"the loss {', '.join(bad)}" if bad else "all losses are finite, but a gradient is not"
        super().__init__(f"Step {step + 1}: {self.found}.")

    def save(self, file: Path) -> None:
        """Write the step's images float32 [B,3,H,W], labels [B,H,W] and indices [B] of both domains as a .npz file."""
        found = {}
        for part, batches in enumerate(self.batches):
            for domain, batch in zip(("source", "target"), batches, strict=True):
                for name in ("image", "label", "index"):
                    tensor = getattr(batch, name, None)
                    if tensor is not None:
                        found[f"{domain}_{name}_{part}"] = tensor.cpu().numpy()
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, **found)


def all_finite(
    losses: Iterable[Tensor], module: nn.Module, gradients: bool = True, pending: int = 0
) -> tuple[bool, int]:
    """Whether the losses, and the module's gradients, are finite on every rank; and the sum of `pending` over ranks,
    which so needs no exchange of its own. Waits for the device once."""
    found = [loss.detach().float() for loss in losses]
    given = [parameter.grad for parameter in module.parameters() if parameter.grad is not None] if gradients else []
    if not found and not given:
        return True, 0
    broken, pending_everywhere = _broken([*found, *_norms(given, 2)], pending)
    if broken and gradients:  # the squares of finite numbers may have overflowed; all ranks come here
        broken, _ = _broken([*found, *_norms(given, torch.inf)], 0)
    return not broken, pending_everywhere


def _norms(gradients: list[Tensor], order: float) -> list[Tensor]:
    """Of each; on a CPU the largest magnitude takes ten times as long as order 2."""
    return [norm.float() for norm in torch._foreach_norm(gradients, order)] if gradients else []


def _broken(numbers: list[Tensor], pending: int) -> tuple[bool, int]:
    """Whether one of them is not finite on any rank, and the sum of `pending` over ranks."""
    broken = (~torch.stack(numbers).isfinite()).any().float()
    told = torch.stack([broken, torch.full_like(broken, pending)])
    sum_over_ranks(told)
    broken_ranks, pending_everywhere = told.tolist()
    return bool(broken_ranks), int(pending_everywhere)
