"""Data parallelism: every rank starts equal, steps on the mean gradient, and is scored with rank 0's statistics.

Written out instead of DDP's wrapper, which expects one forward per backward: a step here runs the network on
two domains and freezes a discriminator half of the time.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def broadcast_state(fabric: "Fabric", *modules: nn.Module) -> None:
    """Give every rank rank 0's parameters and buffers."""
    if fabric.world_size == 1:
        return
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            torch.distributed.broadcast(tensor.data, src=0)


def average_gradients(fabric: "Fabric", module: nn.Module) -> None:
    """Replace each gradient by its mean over ranks, in one exchange."""
    if fabric.world_size == 1:
        return
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= fabric.world_size
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
