"""Two gloo ranks as real processes, for tests that compare them with one process."""

import os
import socket

import torch
import torch.multiprocessing as mp


def two_ranks(work, folder):
    """What `work(fabric)`, which may be a closure, returns in each rank: tensors in plain containers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("fork")
    ranks = [context.Process(target=_rank, args=(rank, port, work, folder)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(300)
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _rank(rank, port, work, folder):
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments import LightningEnvironment

    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank), NODE_RANK="0", WORLD_SIZE="2"
    )
    torch.set_num_threads(1)
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp", plugins=[LightningEnvironment()])
    fabric.launch()
    torch.save(work(fabric), folder / f"{rank}.pt")


def gradients(trainer):
    """The last step's gradients of the network and of the terms' own players, by name.

    Compared instead of weights: Adam's first step is the gradient's sign, which rounding decides where it is 0.
    """
    named = [*trainer.model.named_parameters(), *trainer.players.named_parameters(prefix="term")]
    return {name: parameter.grad for name, parameter in named if parameter.grad is not None}
