"""Data parallelism: every rank starts equal, steps on the mean gradient, and is scored with rank 0's statistics.

Written out instead of DDP's wrapper, which expects one forward per backward: a step here runs the network on
two domains and freezes a discriminator half of the time.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

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


def mean_over_ranks(value: Tensor) -> Tensor:
    """Mean over processes; the value itself in a single one.

    For the denominators of losses: the mean of the ranks' gradients is then that of one process with all images, also
    where the ranks' images have different numbers of labelled pixels.
    """
    if not _several():
        return value
    value = value.detach().float()
    torch.distributed.all_reduce(value)
    return value / torch.distributed.get_world_size()


def sum_over_ranks(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over processes."""
    if _several():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def random_rows(count: int, columns: int, device: torch.device) -> Tensor:
    """Uniform 0..1 [count,columns], a row for each of this rank's images: what one process would draw for them.

    Ranks hold the same random state and deal images in turn, as `EpochSampler` does.
    """
    if not _several():
        return torch.rand(count, columns, device=device)
    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    return torch.rand(count * world, columns, device=device)[rank::world]


def _several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
