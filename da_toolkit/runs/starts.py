"""`environment.json`: each start of a run, with its settings, versions and machine."""

import json
import math
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from da_toolkit.files import write_json
from da_toolkit.notices import Notice
from da_toolkit.runs.provenance import environment
from da_toolkit.runs.runtime import Runtime

_NAME = "environment.json"


def keep_start(folder: Path, step: int, runtime: Runtime, device: torch.device, data: str) -> None:
    """Add a start of the run in `folder` after `step` steps, and tell if it goes on in another precision.

    Args:
        data: the digest of the images.
    """
    starts = _starts(folder) if step else []
    start = {"step": step, "time": round(time.time()), "runtime": runtime.to_json(), "data": data}
    *_, (_, before) = [(0, runtime.precision), *_trained(starts, step)]
    if before != runtime.precision:
        warnings.warn(
            f"precision {before} until step {step}, {runtime.precision} from there on: the run will not be the one "
            "that would have been without a stop.",
            category=Notice,
            stacklevel=2,
        )
    write_json(folder / _NAME, [*starts, start | environment(device)])


def precision_of(folder: Path, now: str) -> str:
    """The run's; if it was changed on the way, each with its first step: "32-true, bf16-mixed from step 500".

    Args:
        now: this process's, which stands for all where the file is damaged.
    """
    parts = _trained(_starts(folder))
    changes = [f"{own} from step {step}" for (_, before), (step, own) in pairwise(parts) if own != before]
    return ", ".join([parts[0][1] if parts else now, *changes])


def _trained(starts: list[Any], end: float = math.inf) -> list[tuple[int, str]]:
    """The first step and the precision of each start of which steps are left among the first `end`: a later start may
    have gone back to an older checkpoint. Damaged ones are left out."""
    parts: list[tuple[int, str]] = []
    for start in reversed(starts):
        try:
            step, precision = int(start["step"]), str(start["runtime"]["precision"])
        except (LookupError, TypeError, ValueError):
            continue
        if step < end:
            parts.append((step, precision))
            end = step
    return parts[::-1]


def _starts(folder: Path) -> list[Any]:
    """What was kept; none if it is missing or damaged, for what came before is unknown."""
    try:
        found = json.loads((folder / _NAME).read_text())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []
