"""Sends a run's events to MLflow: beside the training in a process of its own, or afterwards (`da_toolkit.track`)."""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from da_toolkit.errors import UserError
from da_toolkit.files import try_lock
from da_toolkit.shareable import without_password
from da_toolkit.tracking.spool import Sent, Spool, Unreachable

POLL, LONGEST_PAUSE = 0.5, 60.0  # seconds between two looks; and between two tries, after pauses of 1, 2, 4, ...
NUMBERS = 1000  # metrics a call


class Sender:
    """Sends a spool in order, one sender at a time, and keeps how far it has come."""

    def __init__(self, folder: Path, address: str, tell: Callable[[str], None]) -> None:
        from da_toolkit.tracking.mlflow_store import MLflowStore  # slow to import

        self.folder, self.tell = folder, tell
        self.spool = Spool(folder)
        self.lock = self.spool.path.open("rb+")
        self.shown = without_password(address)
        self.store = MLflowStore(address)
        self.sent = Sent(self.shown)
        self.time = 0.0  # of the last event seen
        self.refusal = ""
        """Why MLflow did not take the last of `sent.aside`."""

    def __enter__(self) -> "Sender":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lock.close()

    def acquire(self) -> bool:
        """Become the spool's sender unless another process is known to be; the system ends it with the process."""
        if try_lock(self.lock) is False:
            return False
        self.sent = Sent.load(self.folder, self.shown)
        return True

    def superseded(self) -> bool:
        """Whether the spool was deleted, and perhaps another run has begun in its folder."""
        try:
            return not os.path.samestat(os.fstat(self.lock.fileno()), self.spool.path.stat())
        except OSError:
            return True

    def send_next(self) -> int:
        """Send the next event, or metrics that follow one another; how many events that was.

        Raises `Unreachable`; then the same events are next again.
        """
        entries = self.spool.batch(self.sent.offset, NUMBERS)
        if not entries:
            return 0
        events = [event for *_, event in entries]
        self.time = events[-1].get("time", self.time)
        kind = events[0].get("event")
        if kind == "start":
            self._open(events[0])
        elif kind == "finish":
            self.close(events[0]["status"])
        elif self.sent.run_id:
            try:
                self._deliver(events)
            except Unreachable as error:
                self.store.check(self.sent.run_id)  # MLflow answers: the event must not hold up those behind it
                if not self.sent.aside:
                    self.tell(f"warning: MLflow at {self.shown} did not take {kind} ({error}); tried again at the end.")
                self.refusal = str(error)
                self.sent.aside += [begin for begin, *_ in entries]
        self.sent.offset = entries[-1][1]
        self._save()
        return len(entries)

    def _open(self, event: dict[str, Any]) -> None:
        again = event["key"] == self.sent.key
        if self.sent.run_id and not again:
            self.close("KILLED")  # an attempt that ended without a word
            self.sent.aside = []
        self.sent.run_id = self.store.open(event, self.sent.run_id if again else "")
        self.sent.key, self.sent.process, self.sent.status = event["key"], event["process"], "RUNNING"

    def _deliver(self, events: list[dict[str, Any]]) -> None:
        event, run_id = events[0], self.sent.run_id
        match event.get("event"):
            case "parameters":
                self.store.parameters(run_id, event["values"])
            case "metrics":
                self.store.metrics(run_id, events)
            case "table":
                self.store.table(run_id, event["name"], event["columns"])
            case "file":
                path = self.folder / event["path"]
                if path.is_file():
                    self.store.file(run_id, path, event["folder"])
            case "model":
                folder = self.folder / event["path"]
                if (folder / "model.safetensors").is_file():
                    self.store.model(run_id, folder)

    def retry_aside(self) -> None:
        """Try again what MLflow refused before. Raises `Unreachable`."""
        if not self.sent.aside:
            return
        latest = {e["name"]: begin for begin, _, e in self.spool.read() if e.get("event") == "table"}
        for begin in list(self.sent.aside):
            event = self.spool.batch(begin, 0)[0][2]
            try:
                if latest.get(event.get("name"), begin) == begin:  # no later table replaced it
                    self._deliver([event])
            except Unreachable as error:
                self.store.check(self.sent.run_id)
                self.refusal = str(error)
            else:
                self.sent.aside.remove(begin)
                self._save()

    def close(self, status: str) -> None:
        """End the MLflow run unless it has ended. Raises `Unreachable`."""
        if self.sent.status == "RUNNING":
            self.store.close(self.sent.run_id, status, {"time": self.time or time.time()})
            self.sent.status = status

    def _save(self) -> None:
        if self.superseded():
            return
        try:
            self.sent.save(self.folder)
        except UserError as error:
            raise Unreachable(str(error)) from error


def follow(folder: Path, address: str, process: int, tell: Callable[[str], None]) -> None:
    """Send what the training `process`, this one's parent, appends; until its finish is sent, or it is gone.

    A failing MLflow is tried again, after pauses that grow. Once the run is over, the first failure is the last.
    """

    def gone() -> bool:
        return os.getppid() != process

    with Sender(folder, address, tell) as sender:
        while not sender.acquire():  # the sender of an earlier process is about to end
            if gone():
                return
            time.sleep(POLL)
        failures = 0
        while not sender.superseded():
            last = gone() or sender.spool.finished()
            try:
                while sender.send_next():
                    failures = 0
                if last:
                    sender.retry_aside()
                    if sender.sent.process == process:  # not when a new process has begun to resume the run
                        sender.close("KILLED")  # does nothing after a finish
            except Unreachable as error:
                failures += 1
                if failures == 2:  # one alone is often a busy moment
                    tell(
                        f"warning: MLflow at {sender.shown} cannot be reached ({error}). The run goes on; what it has "
                        "to tell is kept in its folder and sent when MLflow answers."
                    )
                pause = 0.0 if last else min(2.0 ** (failures - 1), LONGEST_PAUSE)
            else:
                pause = POLL
            if last:
                return
            until = time.monotonic() + pause
            while time.monotonic() < until and not (gone() or sender.spool.finished()):
                time.sleep(min(POLL, pause))


def _tell(line: str) -> None:
    with suppress(OSError):  # the training process is gone
        print(line, flush=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # a scheduler signals every process; the run's last words are to come
    os.nice(10)
    follow(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), _tell)
