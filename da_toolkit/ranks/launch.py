"""Starts a run's ranks or joins those that torchrun or SLURM started, and ends all of them when one is lost."""

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch

from da_toolkit.errors import EXIT_USER_ERROR, Stopped, UserError
from da_toolkit.notices import Notice
from da_toolkit.processor import lacks_bfloat16
from da_toolkit.ranks.outside import started_outside
from da_toolkit.ranks.parallel import several
from da_toolkit.ranks.rendezvous import meet_apart
from da_toolkit.workers import usable_cores

if TYPE_CHECKING:
    from lightning.fabric import Fabric

_PARENT = "DA_TOOLKIT_PARENT"  # the process id of rank 0, in the environment of the ranks that it started
_PATIENCE = 20.0  # seconds in which a rank may find out for itself that another one is lost, and say so
_GOES_ON = "The same command goes on from the last checkpoint, if there is one."

_children: list[subprocess.Popen] = []  # ranks 1, 2, ... of this machine, where this process started them


class LostRank(UserError):
    """Another rank of the run ended, so this one cannot go on."""

    code = 1


def _tell_if_busy(threads: int) -> None:
    """Warn where threads would wait for each other, because other processes keep the cores that they need."""
    load, cores = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, usable_cores()
    if threads > 1 and load + threads > cores + 0.75:
        warnings.warn(
            f"other processes keep this machine busy (load {load:.1f} on {cores} cores). {threads} threads that wait "
            "for each other can make a step many times slower there than one: stop with Ctrl-C and give the same "
            "command with OMP_NUM_THREADS=1 before it, if steps are slow.",
            category=Notice,
            stacklevel=2,
        )


def _tell_if_slow(precision: str) -> None:
    """Warn of a precision that a CPU has no instructions for."""
    if precision == "bf16-mixed" and lacks_bfloat16():
        warnings.warn(
            "this machine has no GPU, and its CPU no instructions for bfloat16 (AVX-512 BF16 or AMX): --precision "
            "bf16-mixed is many times slower here than single precision. Leave it out.",
            category=Notice,
            stacklevel=2,
        )


def launch(devices: int | None, precision: Literal["32-true", "bf16-mixed", "16-mixed"]) -> "Fabric":
    """Fabric with this run's ranks, launched.

    Args:
        devices: processes on this machine, started here unless torchrun or SLURM did; by default as many as they did,
            else 1.

    Raises:
        UserError: `devices` is not what torchrun or SLURM started, or the machine has fewer GPUs.
    """
    from lightning.fabric import Fabric  # slow to import, and of no use to --list or --help
    from lightning.fabric.plugins.environments import LightningEnvironment
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    ours = _PARENT in os.environ or bool(_children)  # started here: the environment says so, in torchrun's words
    outside = None if ours else started_outside()
    here, machines = (outside.here, outside.machines) if outside else (devices or 1, 1)
    if outside and devices not in (None, here):
        raise UserError(
            f"--devices {devices}, but {outside.name} started {here} processes on this machine. Leave --devices out, "
            f"or let {outside.name} start {devices}."
        )
    try:
        fabric = Fabric(
            devices=here,
            num_nodes=machines,
            strategy="ddp" if here * machines > 1 else "auto",
            precision=precision,
            plugins=None if outside else [LightningEnvironment()],
        )
    except MisconfigurationException as error:
        raise UserError(f"{here} processes need as many GPUs: {' '.join(str(error).split())}") from error
    except (RuntimeError, ValueError, KeyError) as error:  # of what a launcher left in the environment, or a precision
        raise UserError(
            f"Lightning cannot set up {here} processes on each of {machines} machines at precision {precision}: "
            f"{' '.join(str(error).split())}"
        ) from error
    if fabric.device.type == "cpu":
        _tell_if_slow(precision)
        _tell_if_busy(torch.get_num_threads())
    parent = os.environ.get(_PARENT)
    if parent is not None:
        _in_background(_watch_parent, int(parent))
    elif here > 1 and not outside:
        _start(here)
    meet_apart()
    try:
        fabric.launch()
    except (RuntimeError, ValueError, OSError) as error:
        if here * machines == 1:
            raise
        place = f"{os.environ.get('MASTER_ADDR', 'MASTER_ADDR')}:{os.environ.get('MASTER_PORT', 'MASTER_PORT')}"
        raise UserError(
            f"The {here * machines} processes of this run could not come together: {str(error).splitlines()[0]:.300} "
            f"Check that all were started alike, and that {place} is the first machine's address and a free port there."
        ) from error
    if fabric.global_rank != 0:
        from rich import get_console

        get_console().quiet = True  # one rank shows progress
    return fabric


def restarted() -> bool:
    """Whether torchrun or SLURM gave this command again after an earlier attempt."""
    return any(int(os.environ.get(name, 0)) > 0 for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def _start(count: int) -> None:
    """This process becomes rank 0; the same command is started for each other rank of this machine.

    Fabric would do it too, but would kill rank 0 while it still writes, and without a word.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "NODE_RANK": "0",
        "LOCAL_RANK": "0",
    }
    command = [sys.executable, *sys.orig_argv[1:]]
    for rank in range(1, count):
        environment = os.environ | {"LOCAL_RANK": str(rank), _PARENT: str(os.getpid())}
        _children.append(subprocess.Popen(command, env=environment))
    atexit.register(_end_children)
    _in_background(_watch_children)


def _in_background(work: Callable[..., None], *arguments: int) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


def _watch_children() -> None:
    """Ends this process, too, if it still waits for a rank that has ended."""
    while not (lost := _lost_child()):
        time.sleep(1)
    time.sleep(_PATIENCE)
    _give_up(lost)


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    time.sleep(_PATIENCE)
    _give_up(_lost_parent(parent))


def _give_up(lost: str) -> None:
    """From a thread, while the main one may hang in an exchange with the lost rank."""
    print(f"error: {lost}", file=sys.stderr, flush=True)
    for child in _children:
        child.kill()
    os._exit(LostRank.code)


def _lost_child() -> str:
    for rank, child in enumerate(_children, 1):
        code = child.poll()
        if code is not None and code < 0:
            what = f"was killed by {_signal_name(-code)}; the other ranks were ended. {_GOES_ON}"
        elif code == EXIT_USER_ERROR:
            what = f"ended with exit code {code}. It said what to mend; the other ranks were ended."
        elif code not in (None, 0, Stopped.code):  # all ranks stop together
            what = f"ended with exit code {code}; the other ranks were ended. {_GOES_ON}"
        else:
            continue
        return f"Rank {rank} (process {child.pid}) {what}"
    return ""


def _signal_name(number: int) -> str:
    known = number in {each.value for each in signal.Signals}
    name = signal.Signals(number).name if known else f"signal {number}"
    return f"{name} (as the system does when memory runs out)" if number == signal.SIGKILL else name


def _lost_parent(parent: int) -> str:
    return f"Rank 0 (process {parent}) was killed; the other ranks were ended. {_GOES_ON}"


def _end_children() -> None:
    """As this process ends, however it does: ranks that do not end with it are killed."""
    until = time.monotonic() + 10
    for child in _children:
        try:
            child.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def lost_ranks_explained() -> Iterator[None]:
    """Turns the error of an exchange with a rank that has ended into a `LostRank` that tells which one it was."""
    try:
        yield
    except RuntimeError as error:
        if not several() or not _broken_exchange(error):
            raise
        raise LostRank(_explanation(error)) from error


def _broken_exchange(error: RuntimeError) -> bool:
    network = isinstance(error, torch.distributed.DistError)  # NCCL's, and those of the store
    return network or any(word in str(error) for word in ("gloo", "Gloo", "by peer"))


def _explanation(error: RuntimeError) -> str:
    """What happened to the lost rank; empty where another rank tells it."""
    parent = os.environ.get(_PARENT)
    if parent is None and not _children:
        reason = str(error).splitlines()[0][:200]
        return f"Another rank of this run ended, and said why if it could ({reason}). {_GOES_ON}"
    for _ in range(50):  # what ended is known a moment after its connections are closed
        lost = _lost_child()
        if parent is not None and os.getppid() != int(parent):
            lost = _lost_parent(int(parent))
        if lost:
            return lost
        time.sleep(0.1)
    return ""
