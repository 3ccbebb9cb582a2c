"""A network whose blocks are compiled each by itself: blocks alike share one program, however deep the network is."""

import os
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

from da_toolkit.files import cache_folder
from da_toolkit.models.recompute import blocks_of
from da_toolkit.notices import Notice

_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
_PROGRAMS = 64
"""Of one kind of block, for its places in the network and the batches it is given; torch gives up after 8."""


def compile_blocks(network: nn.Module) -> None:
    """Let `torch.compile` fuse each block of the backbone, or the whole network where it is built of none.

    Every shape of batch gets programs of its own, which are kept in the cache folder for later runs, unless the
    environment names another. Results change by rounding, and where a block drops paths by other random ones; weights
    keep their names, and copies are not compiled. Where this machine cannot compile, a warning says so and the network
    stays as it is.
    """
    if _temporary(os.environ.get(_FOLDER)):
        os.environ[_FOLDER] = str(cache_folder("compiled"))
    device = next(network.parameters()).device
    if why := _refusal(device):
        warnings.warn(
            f"--compile: this machine cannot compile for {device.type} ({why}), so the run goes on without it. "
            f"It needs {'Triton and a C compiler' if device.type == 'cuda' else 'g++'}.",
            category=Notice,
            stacklevel=2,
        )
        return
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, _PROGRAMS)
    for block in list(blocks_of(getattr(network, "backbone", network))) or [network]:
        block.compile(dynamic=False)


def _temporary(folder: str | None) -> bool:
    """Whether nobody has named a folder: then there is none, or torch's own, which Lightning's import sets."""
    if folder is None:
        return True
    return Path(folder).parent == Path(tempfile.gettempdir()) and Path(folder).name.startswith("torchinductor_")


def _refusal(device: torch.device) -> str:
    """Why a first small program cannot be compiled; nothing if it can."""
    try:
        torch.compile(lambda values: values.sin() + 1, dynamic=False)(torch.zeros(8, device=device))
    except Exception as error:  # of many kinds: no compiler, an old one, no Triton, a folder that cannot be written
        return " ".join(str(error).split())[:120] or type(error).__name__
    return ""
