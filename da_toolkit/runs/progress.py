"""What the person at the terminal sees: a live bar, or plain lines where output goes to a file."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from da_toolkit.errors import discard
from da_toolkit.terminal import live


class TrainingProgress:
    """Shows nothing, as ranks other than the first do; subclasses show a run of `total` optimiser steps."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def advance(self, step: int) -> None:
        """`step` steps are done; cheap enough for every step and reads nothing from the device."""

    def report(self, step: int, losses: dict[str, float], images_per_second: float) -> None:
        """Mean losses since the last report."""

    def score(self, miou: float) -> None:
        """An evaluation ended; mIoU in percent."""

    def note(self, text: str) -> None:
        """A line for the reader."""

    def close(self) -> None:
        """Leave the terminal as it was; may be called twice."""


class _Pace:
    """Time left, from the steps since the first one seen: a resumed run did not do the earlier ones."""

    def __init__(self, total: int, clock: Callable[[], float]) -> None:
        self.total, self.clock = total, clock
        self.begin: tuple[int, float] | None = None

    def left(self, step: int) -> str:
        """Hours, minutes and seconds to `total`, or "?" at the first step seen."""
        now = self.clock()
        if self.begin is None:
            self.begin = step, now
        first, started = self.begin
        if step <= first:
            return "0:00:00" if step >= self.total else "?"
        return str(timedelta(seconds=round((now - started) / (step - first) * (self.total - step))))


def _shown(losses: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in losses.items())


class Lines:
    """Writes lines; when their reader has gone (of `run ... | tee`, tee was stopped), says so and goes on without."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def __call__(self, text: str) -> None:
        try:
            print(text, file=self.file, flush=True)
        except BrokenPipeError:
            print("warning: nobody reads this run's output any more; it goes on.", file=sys.stderr, flush=True)
            discard(self.file)


class PlainProgress(TrainingProgress):
    """One line a report."""

    def __init__(
        self, total: int, write: Callable[[str], None] = print, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total, self.write, self.pace = total, write, _Pace(total, clock)
        self.name, self.miou = "", ""

    def stage(self, name: str) -> None:
        self.name = name
        self.write(f"stage {name}")

    def advance(self, step: int) -> None:
        self.pace.left(step)

    def report(self, step: int, losses: dict[str, float], images_per_second: float) -> None:
        rate, eta = f"{images_per_second:.1f} images/s", self.pace.left(step)
        self.write(f"step {step}/{self.total} [{self.name}] {_shown(losses)} | {rate} | ETA {eta}{self.miou}")

    def score(self, miou: float) -> None:
        self.miou = f" | mIoU {miou:.1f}"
        self.write(f"evaluated: mIoU {miou:.1f}")

    def note(self, text: str) -> None:
        self.write(text)


class LiveProgress(TrainingProgress):
    """A bar with stage, losses, images/s, time left and the last mIoU."""

    def __init__(self, total: int, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        # markup=False: a loss or stage named "[x]" is text, not a style
        self.bar = Progress(
            TextColumn("{task.fields[stage]}", style="bold", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("ETA {task.fields[eta]}", markup=False),
            TextColumn("{task.fields[status]}{task.fields[miou]}", markup=False),
            console=console,
        )
        self.pace = _Pace(total, clock)
        self.task = self.bar.add_task("train", total=total, stage="", eta="?", status="", miou="")
        self.bar.start()

    def stage(self, name: str) -> None:
        self.bar.update(self.task, stage=name)

    def advance(self, step: int) -> None:
        self.bar.update(self.task, completed=step, eta=self.pace.left(step))

    def report(self, step: int, losses: dict[str, float], images_per_second: float) -> None:
        self.bar.update(self.task, status=f"{_shown(losses)}  {images_per_second:.1f} images/s")
        self.advance(step)

    def score(self, miou: float) -> None:
        self.bar.update(self.task, miou=f"  mIoU {miou:.1f}")

    def note(self, text: str) -> None:
        self.bar.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self.bar.stop()


def make_progress(total: int, console: Console | None = None) -> TrainingProgress:
    """A live bar on a terminal, plain lines in a file and on a dumb terminal, whatever colours are forced."""
    can_move = live() if console is None else console.is_terminal and not console.is_dumb_terminal
    console = console or Console()
    if can_move:
        return LiveProgress(total, console)
    return PlainProgress(total, Lines(console.file))
