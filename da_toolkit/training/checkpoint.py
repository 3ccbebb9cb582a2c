"""Checkpoints: a run's whole state in one file, written whole or not at all."""

import errno
import os
from pathlib import Path
from typing import Any

import torch

from da_toolkit.errors import UserError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside the file and rename. Raises `UserError` naming the folder if the disk refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error):
            raise  # not about the file
        full = isinstance(error, RuntimeError) or error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "no space is left" if full else str(error)
        intact = " The previous checkpoint is intact: continue with --resume." if path.exists() else ""
        raise UserError(
            f"The checkpoint {path} could not be written: {reason}. Free space there or set --runs to another "
            f"folder.{intact}"
        ) from error


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read with `weights_only`, so that a checkpoint cannot run code. Raises `UserError` naming the file."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # damaged files raise whatever the unpickler raises
        raise UserError(f"The checkpoint {path} cannot be read ({error}). Start anew with --overwrite.") from error
