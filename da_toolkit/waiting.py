"""Stretches of work that a signal may break off, since nothing is lost when they are begun anew."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Abandoned(BaseException):
    """Raised in a stretch that is broken off. Not an `Exception`: what forgives a bad file must not forgive it."""


class _Stretches:
    """Of the main thread, the only one that Python's signal handlers run in."""

    open = 0
    whole = 0


@contextmanager
def abandonable() -> Iterator[None]:
    """The body may end at any line with `Abandoned`: whoever catches it finds all as before, or puts it back."""
    with _counted("open"):
        yield


@contextmanager
def whole() -> Iterator[None]:
    """The body is not broken off, also inside an `abandonable` one: it starts or ends processes."""
    with _counted("whole"):
        yield


@contextmanager
def _counted(name: str) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = getattr(_Stretches, name)
    setattr(_Stretches, name, before + 1)
    try:
        yield
    finally:
        setattr(_Stretches, name, before)


def may_abandon() -> bool:
    """Whether the main thread, which asks, is where it may be broken off."""
    return _Stretches.open > 0 and _Stretches.whole == 0


def interruptible(work: Callable[[], T]) -> T:
    """What `work` returns or raises. For one long call of a library: it runs in a thread, since signal handlers wait
    for the main one's calls to return; broken off, the thread is left to itself and does not hold up the end."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result()
