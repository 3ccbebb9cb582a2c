"""`metrics.jsonl`: a line for every report of a run, whatever tracker it has."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

from da_toolkit.files import disk_error


class MetricsFile:
    """Appends one JSON line a report to `metrics.jsonl`: step, time (Unix seconds), then the values or a warning."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Forget all but the first `size` bytes."""
        if self.path.exists():
            os.truncate(self.path, size)

    def write(self, values: dict[str, float], step: int) -> None:
        """NaN and infinity become null, as JSON has neither. Raises `UserError` if the disk refuses."""
        self._append({name: value if math.isfinite(value) else None for name, value in values.items()}, step)

    def warn(self, text: str, step: int) -> None:
        """Keep a warning for who looks later. Raises `UserError` if the disk refuses."""
        self._append({"warning": text}, step)

    def _append(self, told: Mapping[str, float | str | None], step: int) -> None:
        line = json.dumps({"step": step, "time": round(time.time(), 3), **told})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise disk_error(self.path.parent, error) from error
