"""A meeting place of its own for each attempt of the ranks that torchrun starts.

torchrun's agent offers its ranks a key-value store to meet in and, in some versions, offers the restarted ones the same
store with what the dead ones have left there: they wait for each other at old addresses until a timeout of half an hour
(https://github.com/pytorch/pytorch/issues/135712). So rank 0 opens a store of its own.
"""

import os
import socket
import time
import uuid
from datetime import timedelta

from torch.distributed import PrefixStore, Store, TCPStore

from da_toolkit.errors import UserError

_LATEST = 600.0  # seconds until all ranks should have been started


def meet_apart() -> None:
    """Point MASTER_PORT to a free port of rank 0's machine, on all ranks of this attempt; nothing without torchrun.

    Raises:
        UserError: the others did not come within 10 minutes.
    """
    of = os.environ
    if of.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or int(of["WORLD_SIZE"]) == 1:
        return
    address = of["MASTER_ADDR"], int(of["MASTER_PORT"])
    agents = PrefixStore("da_toolkit", TCPStore(*address, is_master=False, timeout=timedelta(seconds=_LATEST)))
    rank = int(of["RANK"])
    port = ask_for_port(agents, rank) if rank else tell_port(agents, int(of["WORLD_SIZE"]))
    of |= {"MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": "False"}


def tell_port(store: Store, world: int) -> str:
    """As rank 0: choose a port and answer all that ask, dead ones of earlier attempts too, until all living have heard.

    What is read from the store may be old; a thank-you that names this attempt cannot be.
    """
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    attempt = uuid.uuid4().hex
    until = time.monotonic() + _LATEST
    while not store.check([f"{attempt} thanks {rank}" for rank in range(1, world)]):
        for rank in range(1, world):
            if store.check([f"asks {rank}"]):
                store.set(f"answer {store.get(f'asks {rank}').decode()}", f"{attempt} {port}")
        if time.monotonic() > until:
            raise UserError(f"Not all of the {world} processes that torchrun should start came within 10 minutes.")
        time.sleep(0.05)
    return port


def ask_for_port(store: Store, rank: int) -> str:
    """As another rank: ask with a word never used before, so that the answer is this attempt's."""
    word = uuid.uuid4().hex
    store.set(f"asks {rank}", word)
    attempt, port = store.get(f"answer {word}").decode().split()
    store.set(f"{attempt} thanks {rank}", "")
    return port
