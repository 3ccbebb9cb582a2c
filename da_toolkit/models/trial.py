"""Tries a network at the sizes that a run will give it, before the run: in shapes alone, without computing."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from da_toolkit.errors import UserError
from da_toolkit.models.segmenter import Output, Segmenter

_LARGEST = 1024  # pixels a side, of the sizes that are tried for a remedy


@dataclass(frozen=True)
class Pass:
    """Images that a run gives its network."""

    size: tuple[int, int]
    """Height and width."""
    batch: int
    trains: bool
    """In training mode, in which batch norm needs several values a channel."""
    setting: str
    """Name of the setting that decides the size."""


def check_passes(network: Segmenter, passes: Sequence[Pass]) -> None:
    """Raises `UserError` for the first pass that the network cannot do, with what would work.

    Nothing is computed: the passes run on PyTorch's meta device, with stand-ins for weights and statistics. The
    network, its mode and all random states stay as they are. What fails there is tried with numbers before it is
    refused, for a few operations are unknown to that device.
    """
    done: set[tuple[tuple[int, int], int, bool]] = set()
    for one in passes:
        key = (one.size, one.batch, one.trains)
        if key in done:
            continue
        done.add(key)
        if not (why := _fails(network, one.size, one.batch, one.trains)):
            continue
        if not (why := _fails(network, one.size, one.batch, one.trains, really=True)):
            continue
        mode = f"batch_size {one.batch} in training" if one.trains else "evaluation"
        raise UserError(
            f"{one.setting}: the network cannot take images of {_told(one.size)} (height x width) at {mode}: {why}. "
            f"{_remedy(network, one)}"
        )


def output_shapes(
    network: Segmenter, size: tuple[int, int], batch: int = 1, trains: bool = False, really: bool = False
) -> Output:
    """The output of a pass on images of height and width `size`, in shapes alone. Raises whatever the pass raises.

    Args:
        trains: in training mode.
        really: with the network's numbers, and copies of its statistics.
    """
    numbers = next(network.parameters(), torch.empty(0)).device
    device = numbers if really else torch.device("meta")
    state: dict[str, Tensor] = {
        **{name: tensor if really else _shape_of(tensor) for name, tensor in network.named_parameters()},
        **{name: tensor.clone() if really else _shape_of(tensor) for name, tensor in network.named_buffers()},
    }
    with _unchanged(network, numbers), torch.no_grad(), torch.compiler.set_stance("force_eager"):
        network.train(trains)
        output: Output = functional_call(network, state, (torch.zeros(batch, 3, *size, device=device),))
        return output


def _fails(network: Segmenter, size: tuple[int, int], batch: int, trains: bool, really: bool = False) -> str:
    """Why a pass, as `output_shapes` does it, fails; nothing if it does not."""
    try:
        output = output_shapes(network, size, batch, trains, really)
    except torch.OutOfMemoryError:
        return ""  # of the trial, not of the size: training itself tells
    except Exception as error:  # networks refuse sizes in many ways: assertions, shapes that do not fit
        return f"{' '.join(str(error).split())[:200]}".rstrip(".") or _where(error)
    return "nothing is left of them" if 0 in output.logits.shape else ""


@contextmanager
def _unchanged(network: Segmenter, device: torch.device) -> Iterator[None]:
    """Keeps the modes of a network's parts, and the random states."""
    modes = {module: module.training for module in network.modules()}
    kept, python = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        np.random.set_state(kept)
        random.setstate(python)
        for module, mode in modes.items():
            module.training = mode


def _remedy(network: Segmenter, one: Pass) -> str:
    """What was tried and works: more images, the nearest larger size, or the only size of the network."""
    if one.trains and one.batch == 1 and not _fails(network, one.size, 2, True):
        larger = _nearest(network, one)
        return f"Set batch_size to 2 or more{f', or change {one.setting} to give {_told(larger)}' if larger else ''}."
    if (larger := _nearest(network, one)) is not None:
        return f"It can take {_told(larger)}: change {one.setting} to give that."
    config = getattr(getattr(network, "backbone", None), "pretrained_cfg", None) or {}
    own = tuple((config.get("input_size") or (3, 224, 224))[1:])
    if len(own) == 2 and not _fails(network, own, one.batch, one.trains):
        return (
            f"It can take {_told(own)} alone: set the crop of source_augmentation and target_augmentation, and "
            f"evaluation.window, to {own[0]} {own[1]}, and evaluation.validators to 0, or choose another backbone."
        )
    return "Choose another backbone or size."


def _nearest(network: Segmenter, one: Pass) -> tuple[int, int] | None:
    """The nearest size, not smaller on either side, of multiples of 2, 4, ... 64 that works."""
    multiples = [_up(one.size, step) for step in (2, 4, 8, 16, 32, 64)]
    larger = [_up((one.size[0] * times, one.size[1] * times), 32) for times in (2, 4, 8)]
    for size in sorted({*multiples, *larger} - {one.size}):
        if max(size) <= max(_LARGEST, *multiples[-1]) and not _fails(network, size, one.batch, one.trains):
            return size
    return None


def _up(size: tuple[int, int], step: int) -> tuple[int, int]:
    return (-(-size[0] // step) * step, -(-size[1] // step) * step)


def _shape_of(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


def _where(error: Exception) -> str:
    """For an error without a message: the function that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = f" in its {trace.tb_frame.f_code.co_qualname}" if trace is not None else ""
    return f"{type(error).__name__}{name}"


def _told(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
