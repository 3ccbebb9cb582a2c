"""Ctrl-C while modules are loaded: it ends the process without a word, whatever an import would make of it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)  # nothing is open yet that would need to be closed


@contextmanager
def ended_by_interrupts() -> Iterator[None]:
    """Around imports: a KeyboardInterrupt within one may come out as another error, or be printed and ignored."""
    main = threading.current_thread() is threading.main_thread()  # Python allows handlers nowhere else
    if not main or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):  # ignored: of a script's `command &`
        yield
        return
    before = signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
