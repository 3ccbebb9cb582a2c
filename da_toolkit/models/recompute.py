"""A backbone that keeps less for the backward pass: of each block its input, from which the rest is computed again."""

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from da_toolkit.errors import UserError

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def recompute_blocks(network: nn.Module) -> None:
    """Let each block of the backbone compute its inside again when gradients ask for it (Chen et al., "Training Deep
    Nets with Sublinear Memory Cost", 2016). Gradients, statistics of batch norms and random numbers stay what they are.

    Names of weights stay too, and a copy of the network does the same.

    Raises:
        UserError: the backbone is not built of blocks.
    """
    backbone = cast(nn.Module, getattr(network, "backbone", network))
    blocks = list(blocks_of(backbone))
    if not blocks:
        raise UserError(
            f"--recompute blocks: the backbone, a {type(backbone).__name__}, is no row of blocks whose inside could be "
            "computed again. Pass --recompute cheap, or lower the batch size or the crop."
        )
    for block in blocks:
        block.__class__ = _recomputing(cast(Any, type(block)))  # a wrapper would rename the weights


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules of several layers with weights that stand in a row with others."""
    for child in module.children():
        parts = any(True for part in child.children() for _ in part.parameters())
        if isinstance(module, _CONTAINERS) and parts and not isinstance(child, _CONTAINERS):
            yield child
        else:
            yield from blocks_of(child)


@functools.cache
def _recomputing(kind: Any) -> Any:
    """The same kind of block, which keeps its input alone where it is trained."""

    class Recomputing(kind):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            forward = super().forward
            if not (self.training and torch.is_grad_enabled()):
                return forward(*args, **kwargs)
            return checkpoint(
                forward, *args, use_reentrant=False, context_fn=functools.partial(_contexts, self), **kwargs
            )

    return Recomputing


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), statistics_left_alone(block)


@contextmanager
def statistics_left_alone(block: nn.Module) -> Iterator[None]:
    """Batch norms in training gather in copies, which are thrown away: they have seen these images."""
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    kept = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        norm._buffers.update({name: None if own is None else own.clone() for name, own in norm._buffers.items()})
    try:
        yield
    finally:
        for norm, own in zip(norms, kept, strict=True):
            norm._buffers.update(own)
