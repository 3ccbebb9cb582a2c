"""What the person at the terminal sees: a live bar, or plain lines where output goes to a file."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress(Protocol):
    """Shows a run of `total` steps."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def report(self, step: int, losses: dict[str, float], images_per_second: float) -> None:
        """Mean losses since the last report."""

    def score(self, miou: float) -> None:
        """An evaluation ended; mIoU in percent."""

    def note(self, text: str) -> None:
        """A line for the reader."""

    def close(self) -> None: ...


def _shown(losses: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in losses.items())


class PlainProgress:
    """One line a report."""

    def __init__(
        self, total: int, write: Callable[[str], None] = print, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total, self.write, self.clock = total, write, clock
        self.started, self.first = clock(), 0
        self.name, self.miou = "", ""

    def stage(self, name: str) -> None:
        self.name = name
        self.write(f"stage {name}")

    def report(self, step: int, losses: dict[str, float], images_per_second: float) -> None:
        left = (self.clock() - self.started) / max(1, step - self.first) * (self.total - step)
        eta = timedelta(seconds=round(left))
        rate = f"{images_per_second:.1f} images/s"
        self.write(f"step {step}/{self.total} [{self.name}] {_shown(losses)} | {rate} | ETA {eta}{self.miou}")

    def score(self, miou: float) -> None:
        self.miou = f" | mIoU {miou:.1f}"
        self.write(f"evaluated: mIoU {miou:.1f}")

    def note(self, text: str) -> None:
        self.write(text)

    def close(self) -> None: ...


class LiveProgress:
    """A bar with losses, images/s, ETA and the last mIoU."""

    def __init__(self, total: int, console: Console) -> None:
        self.bar = Progress(
            TextColumn("[bold]{task.fields[stage]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=console,
        )
        self.task = self.bar.add_task("train", total=total, stage="", status="")
        self.miou = ""
        self.bar.start()

    def stage(self, name: str) -> None:
        self.bar.update(self.task, stage=name)

    def report(self, step: int, losses: dict[str, float], images_per_second: float) -> None:
        self.bar.update(
            self.task, completed=step, status=f"{_shown(losses)}  {images_per_second:.1f} images/s{self.miou}"
        )

    def score(self, miou: float) -> None:
        self.miou = f"  mIoU {miou:.1f}"

    def note(self, text: str) -> None:
        self.bar.console.print(text)

    def close(self) -> None:
        self.bar.stop()


def make_progress(total: int, console: Console | None = None) -> TrainingProgress:
    """A live bar on a terminal, plain lines otherwise."""
    console = console or Console()
    if console.is_terminal:
        return LiveProgress(total, console)
    return PlainProgress(total, lambda text: print(text, flush=True))
