"""Checkpoints: a run's whole state in one file, written whole or not at all, its checksum in its name."""

import errno
import hashlib
import os
import sys
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import nn

from da_toolkit.errors import UserError
from da_toolkit.files import write_whole

FORMAT = 4
"""Counts the changes to what a checkpoint holds."""


class Checkpoints:
    """The last `keep` checkpoints of a run, `step_STEP-CHECKSUM.pt` in a folder; the newest one that is whole counts.

    The name carries the first 16 hexadecimal digits of the file's SHA-256, so one rename makes a checkpoint and its
    proof appear together.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    def files(self) -> list[Path]:
        """From the newest to the oldest."""
        return sorted(self.folder.glob("step_*-*.pt"), key=_step, reverse=True)

    def newest(self) -> int | None:
        """The steps that the newest one was written after, if there is one."""
        return next(map(_step, self.files()), None)

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write the state after `step` steps, then forget all but the last `keep`.

        Raises `UserError` naming the folder if the disk refuses; earlier checkpoints are intact then.
        """
        temporary = self.folder / "unfinished.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            digest = _write(temporary, {"format": FORMAT, **state})
            file = self.folder / f"step_{step:08d}-{digest}.pt"
            for earlier in self.folder.glob(f"step_{step:08d}-*.pt"):
                earlier.unlink()  # the same step comes again after a fall back
            temporary.replace(file)
            _sync(self.folder)
            for old in self.files()[self.keep :]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise self._refused(error) from error
        return file

    def load(self, device: torch.device) -> dict[str, Any]:
        """The newest state that is whole; damaged ones are set aside as `.damaged` with a warning.

        Read with `weights_only`, so that a checkpoint cannot run code. Raises `UserError` if none is whole, or it is
        another version's.
        """
        files, damage = self.files(), ""
        for file in files:
            try:
                _check(file)
                state = cast(dict[str, Any], torch.load(file, map_location=device, weights_only=True))
            except Exception as error:  # damaged files raise whatever the unpickler raises
                damage = f"The checkpoint {file} is damaged ({str(error).splitlines()[0]})"
                print(f"warning: {damage}; it is set aside, and the one before it is tried.", file=sys.stderr)
                file.replace(file.with_suffix(".damaged"))  # or it would count as one of the last
                continue
            if state.get("format") != FORMAT:
                raise UserError(
                    f"The checkpoint {file} was written by another version of da_toolkit. Go on with that one (the "
                    "commit stands in the run's environment.json), or start anew with --overwrite."
                )
            return state
        if not files:
            raise UserError(f"There is no checkpoint in {self.folder}. Start the run without --resume.")
        raise UserError(f"{damage}, and no other one is left. Start anew with --overwrite.")

    def _refused(self, error: OSError) -> UserError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "no space is left" if full else error.strerror or str(error)
        intact = " The previous checkpoint is intact: the same command goes on from there." if self.files() else ""
        remedy = "Free space there" if full else "Mend that"
        return UserError(
            f"The checkpoint could not be written to {self.folder}: {reason}. {remedy} or set --runs to "
            f"another folder.{intact}"
        )


class _Hashing:
    """A file that is written front to back, and what its checksum is."""

    def __init__(self, file: Any) -> None:
        self.file, self.hash = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        self.hash.update(data)
        try:
            return cast(int, self.file.write(data))
        except OSError as error:  # torch's writer would turn it into an error of its own
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _write(path: Path, state: dict[str, Any]) -> str:
    """Write, sync, and give the checksum. Raises OSError, and leaves no file then."""
    try:
        with path.open("wb") as file:
            hashing = _Hashing(file)
            try:
                torch.save(state, cast(Any, hashing))
            except RuntimeError:
                if hashing.error is None:
                    raise
                raise hashing.error from None
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return hashing.hash.hexdigest()[:16]


def _check(file: Path) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()[:16]
    if found != file.stem.split("-")[1]:
        raise ValueError("its content is not what was written")


def _step(file: Path) -> int:
    return int(file.stem.split("-")[0].removeprefix("step_"))


def _sync(folder: Path) -> None:
    """Make a rename last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_weights(path: Path, network: nn.Module) -> None:
    """Write a network's weights as safetensors, whole or not at all. Raises `UserError` if the disk refuses."""
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    write_whole(path, save(weights))
