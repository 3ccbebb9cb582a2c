"""Weights files: the named tensors that a .safetensors, .pth or .pt file holds, whatever they are wrapped in."""

import argparse
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from da_toolkit.errors import UserError, nearest
from da_toolkit.models.adapters import merged

Tables = dict[str, dict[str, Tensor]]
"""Where in a file, such as "['model']" or "" for its top, and the named tensors there."""

_USUAL = ("model.safetensors", "pytorch_model.bin")  # a run's own, timm's and the hub's
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_DEPTH = 3  # no framework wraps deeper; an optimiser's state does


def find_file(path: str, words: str = "'timm', 'packaged', 'none'") -> Path:
    """The weights file that a path means: itself, or the one in a folder, which may be a run's.

    Args:
        words: what else `model.weights` may be, for the message.

    Raises:
        UserError: nothing is there, or no weights or several files of them are in the folder.
    """
    place = Path(path)
    if place.is_file():
        return place
    if not place.is_dir():
        raise UserError(
            f"model.weights: {path!r} is neither {words} nor an existing file or folder.{_nearest(place)} "
            "Give the path of a .safetensors or .pth file, or of a run's folder."
        )
    if usual := [place / name for name in _USUAL if (place / name).is_file()]:
        return usual[0]
    if (place / "recipe.json").exists():
        checkpoints = sorted(place.glob("checkpoints/step_*.pt"))
        instead = f"; or give {checkpoints[-1]}, its last checkpoint" if checkpoints else ""
        raise UserError(
            f"model.weights: the run {path} has no model.safetensors, which it gets at its end: let it finish{instead}."
        )
    files = sorted(file for file in place.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(file.name for file in files[:5])
        raise UserError(f"model.weights: the folder {path} holds {len(files)} files of weights ({names}): give one.")
    runs = sorted(file.parent for file in place.glob("*/model.safetensors"))
    hint = f" Did you mean {runs[0]}?" if runs else f" A file's name there would end in {', '.join(_SUFFIXES)}."
    raise UserError(f"model.weights: there are no weights in the folder {path}.{hint}")


def read_tables(file: Path) -> Tables:
    """The named tensors in a file, by where they lie in it, on the CPU; adapters are merged into what they adapt.

    Raises `UserError` for a file that is empty, damaged, no weights, or that would run code: nothing in it is run.
    """
    value = _contents(file)
    tables = dict(_tables(value, ""))
    if not tables:
        raise UserError(
            f"model.weights: {file} holds {_told(value)}, not a network's tensors by name. Save `model.state_dict()`."
        )
    return {place: merged(table) for place, table in tables.items()}


def _contents(file: Path) -> Any:
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            start = opened.read(512)
    except OSError as error:
        raise UserError(f"model.weights: {file} cannot be read ({error.strerror}). Mend that.") from error
    if what := _no_weights(start):
        raise UserError(f"model.weights: {file} {what}")
    try:
        header = start[8:9] == b"{"  # in JSON, behind 8 bytes of its length, which may begin as a pickle does
        pickled = start.startswith((b"PK", b"\x80")) and not (header and int.from_bytes(start[:8], "little") < size)
        if not pickled and (file.suffix == ".safetensors" or header):
            return load_file(file)
        # Opened here, so that its content counts and not its name; timm's training scripts keep a Namespace in it.
        with file.open("rb") as opened, torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(opened, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise whatever the format's parser raises
        if "TorchScript" in str(error):
            raise UserError(
                f"model.weights: {file} is a TorchScript archive, which holds code. Load it where you trust it with "
                "`torch.jit.load`, and save its `state_dict()`."
            ) from error
        if isinstance(error, pickle.UnpicklingError) and (objects := _objects(file, error)):
            raise UserError(
                f"model.weights: {file} holds more than tensors ({objects}), and reading that could run code, so it "
                "was not read. If you trust the file, load it once with `torch.load(FILE, weights_only=False)` and "
                "save its state_dict alone."
            ) from error
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, pickle.UnpicklingError):  # PyTorch's own advice is to let it run code
            reason = "neither torch.save nor safetensors writes such a file"
        raise UserError(
            f"model.weights: {file} cannot be read as weights ({size} bytes; {type(error).__name__}: {reason}). "
            "Download or save it again."
        ) from error


def _no_weights(start: bytes) -> str:
    """What a file is that stands where weights were meant to be, by its first bytes; nothing if it may be weights."""
    text = start.lstrip().lower()
    if not start:
        return "is empty (0 bytes). Download or save it again."
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer of git-lfs, not the weights themselves. Run `git lfs pull` in its repository."
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "is a web page, not weights. Download the file itself: a link to its page gives the page."
    if text.startswith((b"{", b"[")) and start[8:9] != b"{":
        return "is JSON text, not weights. Give the file of the tensors."
    return ""


def _objects(file: Path, error: Exception) -> str:
    """Names of what a pickle holds besides tensors; nothing if it is merely damaged."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # of an older format, or damaged
        names = []
    if not names and "GLOBAL " in str(error):  # of the one that the reader stumbled over
        names = [str(error).partition("GLOBAL ")[2].split(" ")[0]]
    return ", ".join(names[:5])


def _tables(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    if not isinstance(value, Mapping):
        return
    if named := {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, Tensor)}:
        yield place, named
    if depth < _DEPTH:
        for key, item in value.items():
            yield from _tables(item, f"{place}[{key!r}]", depth + 1)


def _told(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"one tensor {tuple(value.shape)}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)} without names"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(repr, list(value)[:5])) or 'nothing'}"
    return f"a {type(value).__name__}"


def _nearest(place: Path) -> str:
    try:
        names = [other.name for other in place.parent.iterdir()]
    except OSError:
        return ""
    near = nearest(place.name, names)
    return f" Did you mean {place.parent / near}?" if near else ""
