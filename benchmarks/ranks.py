"""Two gloo ranks as real processes, for the tests and benchmarks that compare them with one process."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment

from da_toolkit.training.trainer import Trainer


def two_ranks(work: Callable[[Fabric], Any], folder: Path, limit_s: float = 300) -> list[Any]:
    """What `work(fabric)`, which may be a closure, returns in each rank: tensors in plain containers.

    Raises:
        RuntimeError: a rank failed, or was not done after `limit_s` seconds.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("fork")
    ranks = [context.Process(target=_rank, args=(rank, port, work, folder)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(limit_s)
    if failed := [rank for rank, process in enumerate(ranks) if process.exitcode != 0]:
        for process in ranks:
            process.kill()
        raise RuntimeError(f"ranks {failed} ended with {[ranks[rank].exitcode for rank in failed]} (None: not done)")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _rank(rank: int, port: int, work: Callable[[Fabric], Any], folder: Path) -> None:
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank), NODE_RANK="0", WORLD_SIZE="2"
    )
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp", plugins=[LightningEnvironment()])
    fabric.launch()
    torch.save(work(fabric), folder / f"{rank}.pt")


def gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    """The last step's gradients of the network and of the terms' own players, by name.

    Compared instead of weights: Adam's first step is the gradient's sign, which rounding decides where it is 0.
    """
    return network_gradients(trainer) | player_gradients(trainer)


def network_gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Of the segmentation network alone; copies."""
    return _gradients(trainer.model, "")


def player_gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Of the terms' own networks, such as discriminators; copies."""
    return _gradients(trainer.players, "term")


def _gradients(module: torch.nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    named = module.named_parameters(prefix=prefix)
    return {name: parameter.grad.clone() for name, parameter in named if parameter.grad is not None}
