"""What a run has to tell MLflow: the events in `tracking.jsonl`, and in `tracking.sent` how far they are sent."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from da_toolkit.files import disk_error, write_json

_LAST_LINE = 4096  # bytes that hold the line of a finish


class Unreachable(Exception):
    """MLflow did not take an event, which stays in the spool; the message is the reason, in one line."""


class Spool:
    """The events of a run, one JSON line each, oldest first.

    `event` says what it is, `time` when it was (Unix seconds); the rest is its content:

    | event | content |
    | --- | --- |
    | start | key (one an MLflow run: a resumed run repeats it), place, experiment, run_name, tags, process |
    | parameters | values, as text |
    | metrics | step, values; NaN and infinity as Python writes them |
    | table | name, columns |
    | model | path of a folder with recipe.json and model.safetensors |
    | file | path (relative to the run's folder if inside it), folder (in MLflow) |
    | finish | status |
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "tracking.jsonl"

    def append(self, event: str, **content: Any) -> None:
        """Write one event. Raises `UserError` naming the folder if the disk refuses; then nothing is written."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **content}, default=str)
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            with suppress(OSError):
                os.truncate(self.path, size)
            raise disk_error(self.folder, error) from error

    def read(self, begin: int = 0) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """First byte, byte after the last, and content of every event from byte `begin` on.

        A line that is still being written is not there yet; one that a broken disk has damaged is an empty event.
        """
        with self.path.open("rb") as file:
            file.seek(begin)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end = begin + len(line)
                try:
                    event = json.loads(line)
                except ValueError:
                    event = {}
                yield begin, end, event
                begin = end

    def batch(self, begin: int, most: int) -> list[tuple[int, int, dict[str, Any]]]:
        """The next event and, if it is metrics, those right after it, up to `most` numbers in all."""
        found: list[tuple[int, int, dict[str, Any]]] = []
        numbers = 0
        for entry in self.read(begin):
            is_metrics = entry[2].get("event") == "metrics"
            numbers += len(entry[2]["values"]) if is_metrics else 0
            if found and (not is_metrics or numbers > most):
                return found
            found.append(entry)
            if not is_metrics:
                return found
        return found

    def finished(self) -> bool:
        """Whether the last event is a finish."""
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - _LAST_LINE))
            lines = file.read().splitlines()
        with suppress(ValueError, IndexError):
            return json.loads(lines[-1]).get("event") == "finish"
        return False

    def mend(self) -> dict[str, Any]:
        """Cut off a line that a killed process left half-written; the last start, or an empty event without one."""
        start: dict[str, Any] = {}
        end = 0
        if self.path.exists():
            for _, after, event in self.read():
                end, start = after, event if event.get("event") == "start" else start
            os.truncate(self.path, end)
        return start


@dataclass
class Sent:
    """How far a spool is sent to one address; another address gets the whole of it."""

    address: str
    """Without its password."""
    offset: int = 0
    """Bytes of the spool that are done with."""
    aside: list[int] = field(default_factory=list)
    """First bytes of events before `offset` that MLflow refused while it took others; they are tried again."""
    run_id: str = ""
    key: str = ""
    """Of the start that made the MLflow run `run_id`."""
    process: int = 0
    """That trained at the last start."""
    status: str = ""
    """Of the MLflow run: RUNNING, or what it ended with."""

    @classmethod
    def load(cls, folder: Path, address: str) -> "Sent":
        """Nothing is sent yet if the file is missing, damaged, or about another address."""
        with suppress(OSError, ValueError, TypeError):
            sent = cls(**json.loads((folder / "tracking.sent").read_text()))
            if sent.address == address:
                return sent
        return cls(address)

    def save(self, folder: Path) -> None:
        """Written whole or not at all. Raises `UserError` if the disk refuses."""
        write_json(folder / "tracking.sent", asdict(self))

    def kept(self, spool: Spool) -> int:
        """Events that MLflow does not have yet."""
        return len(self.aside) + sum(1 for _ in spool.read(self.offset))
