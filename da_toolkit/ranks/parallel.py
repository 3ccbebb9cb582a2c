"""Data parallelism: every rank holds the same network, steps on the mean gradient, and draws the same numbers.

Written out instead of DDP's wrapper, which expects one forward per backward: a step here runs the network on
two domains and freezes a discriminator half of the time. All functions do nothing special in a single process.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from da_toolkit.errors import UserError

T = TypeVar("T")


def several() -> bool:
    """Whether this run has more than one process."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def is_main() -> bool:
    """Whether this is rank 0, which alone writes and reports; true in a single process."""
    return not several() or torch.distributed.get_rank() == 0


def broadcast_state(*modules: nn.Module) -> None:
    """Give every rank rank 0's parameters and buffers."""
    if not several():
        return
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            torch.distributed.broadcast(tensor.data, src=0)


def average_gradients(module: nn.Module) -> None:
    """Replace each gradient by its mean over ranks, in one exchange."""
    if several():
        _average([parameter.grad for parameter in module.parameters() if parameter.grad is not None])


def average_batch_statistics(module: nn.Module) -> None:
    """Replace what batch norms in `train` mode have gathered by its mean over ranks, in one exchange.

    Each rank normalises with its own images' statistics, but remembers those of all: so ranks hold equal networks after
    every step, and rank 0's checkpoint is every rank's.
    """
    if several():
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
        _average([found for norm in norms for found in (norm.running_mean, norm.running_var) if found is not None])


def _average(tensors: list[Tensor]) -> None:
    if not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def mean_over_ranks(value: Tensor) -> Tensor:
    """Mean over processes; the value itself in a single one.

    For the denominators of losses: the mean of the ranks' gradients is then that of one process with all images, also
    where the ranks' images have different numbers of labelled pixels.
    """
    if not several():
        return value
    value = value.detach().float()
    torch.distributed.all_reduce(value)
    return value / torch.distributed.get_world_size()


def sum_over_ranks(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over processes: exact for counts, and for rows that one rank alone has filled."""
    if several():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def gathered(own: T) -> list[T]:
    """What each rank has, by rank, on every rank. It is pickled: keep it small."""
    if not several():
        return [own]
    ranks: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(ranks, own)
    return ranks


def gathered_in_turn(own: list[T]) -> list[T]:
    """What was dealt to the ranks in turn, in its first order, on every rank. Items are pickled: keep them small."""
    if not several():
        return own
    ranks = gathered(own)
    return [ranks[turn % len(ranks)][turn // len(ranks)] for turn in range(sum(map(len, ranks)))]


def streamed_in_turn(own: Iterable[T]) -> Iterator[T]:
    """What was dealt to the ranks in turn, in its first order, on rank 0; the other ranks get nothing.

    All ranks must exhaust it together. No more than an item of each rank is held at once. Items are pickled.
    """
    if not several():
        yield from own
        return
    world, items = torch.distributed.get_world_size(), iter(own)
    while True:
        mine = list(islice(items, 1))
        counts: list[Any] = [None] * world
        torch.distributed.all_gather_object(counts, len(mine))
        if not any(counts):
            return
        round_: list[Any] | None = [None] * world if is_main() else None
        torch.distributed.gather_object(mine, round_)
        for found in round_ or ():
            yield from found


def from_main(work: Callable[[], T]) -> T:
    """What `work` returns on rank 0, which alone does it, given to every rank.

    Raises:
        UserError: rank 0's, on every rank; without a message on the others, since one telling is enough.
    """
    if not several():
        return work()
    told: list[Any] = [None, None]
    mine: UserError | None = None
    if is_main():
        try:
            told[0] = work()
        except UserError as error:
            mine, told[1] = error, error.code
    torch.distributed.broadcast_object_list(told)
    if mine is not None:
        raise mine
    if told[1] is not None:
        silent = UserError()
        silent.code = told[1]
        raise silent
    return told[0]


def random_rows(count: int, columns: int, device: torch.device) -> Tensor:
    """Uniform 0..1 [count,columns], a row for each of this rank's images: what one process would draw for them.

    Ranks hold the same random state and deal images in turn, as `EpochSampler` does.
    """
    if not several():
        return torch.rand(count, columns, device=device)
    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    return torch.rand(count * world, columns, device=device)[rank::world]


def next_images(maps: Tensor) -> Tensor:
    """What the next image of the batch has, for each image, the first after the last; of the batch of all processes.

    Args:
        maps: [B,...], this rank's images, or their labels.
    """
    if not several():
        return maps.roll(-1, 0)
    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    own = maps.contiguous()
    every = [torch.empty_like(own) for _ in range(world)]
    torch.distributed.all_gather(every, own)
    return torch.stack(every, 1).flatten(0, 1).roll(-1, 0)[rank::world]
