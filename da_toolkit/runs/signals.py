"""Stops a run when the user or the scheduler asks for it: between two steps, or where waiting is broken off."""

import os
import select
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import torch

from da_toolkit.errors import Stopped
from da_toolkit.waiting import Abandoned, may_abandon
from da_toolkit.workers import STOP_SIGNALS

if TYPE_CHECKING:
    from lightning.fabric import Fabric

PATIENCE = 2.0
"""Seconds after a signal in which a step may end, before what may be abandoned is."""
_SAME = 1.0  # seconds; torchrun, timeout and a terminal send one request twice
_RANKS_PATIENCE = 25.0  # seconds after which a rank that waits in an exchange for one that has no answer ends
_TICK = 0.25


class StopRequest:
    """While entered, SIGTERM, SIGINT and SIGUSR1 ask for a stop; a second signal has its usual effect at once.

    Whoever can stop asks for `name` or `asked`. If nobody has after `patience` seconds, `Abandoned` is raised in the
    main thread as soon as that is in an `abandonable` stretch.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.patience = patience
        self.name = ""
        """Of the signal that came, if one did."""
        self.ranks = 1
        """With several, a rank may hang in an exchange with one that has stopped, and no handler runs there."""
        self._before: dict[int, Any] = {}
        self._first: float | None = None
        self._answered = False
        self._pipe: tuple[int, int] | None = None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            read, write = self._pipe = os.pipe()
            os.set_blocking(write, False)
            signal.set_wakeup_fd(write, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(read,), daemon=True).start()
            self._before = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._break_off)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answered = True
        for number, handler in self._before.items():
            late = number == signal.SIGALRM and handler == signal.SIG_DFL  # the watcher's last one must not kill
            signal.signal(number, signal.SIG_IGN if late else handler)
        if self._pipe is not None:
            signal.set_wakeup_fd(-1)
            os.close(self._pipe[1])  # the watcher reads its end and closes the other one

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is not None and now - self._first > _SAME:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.name = self.name or signal.Signals(number).name
        self._first = self._first or now

    def _break_off(self, number: int, frame: FrameType | None) -> None:
        if self.name and not self._answered and may_abandon():
            self._answered = True
            raise Abandoned

    def _watch(self, read: int) -> None:
        """In a thread, which also works while the main one is in a call that does not return.

        Python's own handlers write the number of each signal into the pipe.
        """
        first: float | None = None
        while True:
            if select.select([read], [], [], None if first is None else _TICK)[0]:
                if not (came := os.read(read, 64)):
                    os.close(read)
                    return
                for number in came:
                    if number not in STOP_SIGNALS:
                        continue
                    first = first or time.monotonic()
                    if time.monotonic() - first > _SAME:
                        self._end_at_once(number)
            waited = 0.0 if first is None else time.monotonic() - first
            if self._answered:
                continue
            if waited > self.patience:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
            if waited > _RANKS_PATIENCE and self.ranks > 1:
                print(
                    "error: Stopped by a signal while this rank waited for the others. The same command goes on from "
                    "the last checkpoint, if there is one.",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(Stopped.code)

    def _end_at_once(self, number: int) -> None:
        time.sleep(_TICK)  # the handler does it better, if it runs
        os._exit(128 + number)

    def asked(self, fabric: "Fabric") -> bool:
        """Whether any rank was asked to stop; all ranks get the same answer at the same step."""
        if fabric.world_size == 1:
            found = bool(self.name)
        else:
            flag = torch.tensor(float(bool(self.name)), device=fabric.device)
            torch.distributed.all_reduce(flag)
            found = bool(flag.item())
        self._answered = found
        return found
