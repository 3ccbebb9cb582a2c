"""`environment.json`: each start of a run, with its settings, versions and machine."""

import json
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
    before = _precisions(starts)[-1:]
    if before and before[0][1] != runtime.precision:
        warnings.warn(
            f"precision {before[0][1]} until step {step}, {runtime.precision} from there on: the run will not be the "
            "one that would have been without a stop.",
            category=Notice,
            stacklevel=3,
        )
    write_json(folder / _NAME, [*starts, start | environment(device)])


def precision_of(folder: Path, now: str) -> str:
    """The run's; if it was changed on the way, each with its first step: "32-true, bf16-mixed from step 500".

    Args:
        now: this process's, which stands for all where the file is damaged.
    """
    starts = _precisions(_starts(folder))
    trained = [start for start, after in pairwise(starts) if start[0] < after[0]] + starts[-1:]
    changes = [f"{now} from step {step}" for (_, before), (step, now) in pairwise(trained) if now != before]
    return ", ".join([trained[0][1] if trained else now, *changes])


def _starts(folder: Path) -> list[Any]:
    """What was kept; none if it is missing or damaged, for what came before is unknown."""
    try:
        found = json.loads((folder / _NAME).read_text())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def _precisions(starts: list[Any]) -> list[tuple[int, str]]:
    """Of each start its step and precision; none if one is damaged."""
    try:
        return [(int(start["step"]), str(start["runtime"]["precision"])) for start in starts]
    except (LookupError, TypeError, ValueError):
        return []
