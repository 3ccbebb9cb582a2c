"""The pictures that a run's folder holds, which alone are served, and the map of where a prediction errs."""

import io
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from da_toolkit.report.runs import kept_pictures

FOLDERS = ("pictures", "predictions")
KINDS = {".png": "image/png", ".jpg": "image/jpeg"}
_BEGINNINGS = {".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff"}
_SCORED = re.compile(r"step_\d+")
_WRONG, _IGNORED = (229, 57, 53), (0, 0, 0)
LARGEST = 2**26
"""Pixels of a picture of which an error map is made."""


def files_of(run: Path) -> dict[str, Path]:
    """ "FOLDER/NAME" -> file, of the PNG and JPEG files in the run's own folders of pictures; no links, for they may
    lead out of it."""
    found = {}
    for folder in FOLDERS:
        try:
            if (run / folder).is_symlink() or not (run / folder).is_dir():
                continue
            for file in sorted((run / folder).iterdir()):
                if file.suffix in KINDS and not file.is_symlink() and file.is_file():
                    found[f"{folder}/{file.name}"] = file
        except OSError:  # it may not be read, or is being replaced
            continue
    return found


def content_of(file: Path) -> bytes | None:
    """A picture's bytes; none if it cannot be read, is empty or is no picture of its name's kind."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    return content if content.startswith(_BEGINNINGS[file.suffix]) else None


def of_stages(run: Path, stages: Sequence[str]) -> list[dict[str, str]]:
    """The pictures of `pictures/`: stage or step that they were made at, what they show, and their address below
    the run. Those of stages come in the schedule's order, then those of evaluations, which have no `what`, the latest
    first."""
    names = {name.replace(" ", "_"): (place, name) for place, name in enumerate(stages)}
    told, scored = [], []
    for address, file in files_of(run).items():
        if not address.startswith("pictures/"):
            continue
        entry = {"address": versioned(address, file)}
        begun = [name for name in names if file.stem.startswith(f"{name}_")]
        if _SCORED.fullmatch(file.stem):
            scored.append(entry | {"when": f"step {int(file.stem[5:])}", "what": ""})
        elif begun:
            stem = max(begun, key=len)
            place, name = names[stem]
            told.append((place, entry | {"when": name, "what": file.stem[len(stem) + 1 :]}))
        else:
            told.append((len(names), entry | {"when": "", "what": file.stem}))
    told.sort(key=lambda each: each[0])
    return [entry for _, entry in told] + scored[::-1]


def versioned(address: str, file: Path) -> str:
    """The address, quoted, with the file's time, so that a browser sees that it was written anew."""
    quoted = quote(address, errors="surrogateescape")
    try:
        return f"{quoted}?{file.stat().st_mtime_ns}"
    except OSError:
        return quoted


def predictions_of(run: Path) -> dict[int, dict[str, Path]]:
    """Like `kept_pictures`, of files that are served."""
    served = set(files_of(run).values())
    return {
        number: files for number, files in kept_pictures(run).items() if all(file in served for file in files.values())
    }


def error_map(files: Mapping[str, Path]) -> bytes | None:
    """PNG of a scene of `predictions_of`: the image in grey, red where the decision is not the label, black where the
    label is ignored. None if a file is damaged."""
    try:
        times = tuple((files[kind], files[kind].stat().st_mtime_ns) for kind in ("image", "prediction", "label"))
        return _error_map(times)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # SyntaxError: Pillow's of broken PNGs
        return None


@lru_cache(maxsize=64)
def _error_map(times: tuple[tuple[Path, int], ...]) -> bytes:
    with Image.open(times[2][0]) as opened:
        if opened.width * opened.height > LARGEST:
            raise ValueError("too large")
        label, size = np.asarray(opened.convert("RGB")), opened.size
    with Image.open(times[1][0]) as opened:
        decided = np.asarray(opened.convert("RGB").resize(size, Image.Resampling.NEAREST))
    with Image.open(times[0][0]) as opened:
        grey = np.asarray(opened.convert("L").resize(size)).astype(np.float32)
    shown = np.repeat((60 + 0.6 * grey)[..., None], 3, 2)
    ignored = (label == _IGNORED).all(-1)
    wrong = (label != decided).any(-1) & ~ignored
    shown[wrong] = 0.25 * shown[wrong] + 0.75 * np.asarray(_WRONG)
    shown[ignored] = 0
    written = io.BytesIO()
    Image.fromarray(shown.astype(np.uint8)).save(written, format="PNG")
    return written.getvalue()


def signature(run: Path) -> tuple[Any, ...]:
    """Changes whenever a file that the page shows does."""
    names = ("result.json", "recipe.json", "environment.json", "metrics.jsonl", "confusions.npz")
    files = [run / name for name in names] + list(files_of(run).values())
    found = []
    for file in files:
        try:
            told = file.stat()
        except OSError:
            continue
        found.append((file.name, told.st_mtime_ns, told.st_size))
    return tuple(found)
