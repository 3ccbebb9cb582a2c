"""Errors that are the user's to mend: one paragraph, exit code 2, never a traceback."""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import IO

from da_toolkit import own_code
from da_toolkit.interrupts import INTERRUPTED
from da_toolkit.notices import shown_plainly

EXIT_USER_ERROR = 2


class UserError(Exception):
    """A mistake outside the code: the message names the file, the setting and the remedy."""

    code = EXIT_USER_ERROR


class Stopped(UserError):
    """A run that ended by a signal, its checkpoint written. The exit code is sysexits' "try again later"."""

    code = 75


def nearest(name: str, valid: Iterable[str], least: float = 0.6) -> str:
    """The name that is most alike, or that alone begins so, or nothing where none is as alike as `least`, 0..1."""
    import difflib

    names = list(valid)
    begun = [other for other in names if len(name) > 2 and other.startswith(name)]
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=least)), begun[0] if len(begun) == 1 else "")


def meant(name: str, valid: Iterable[str]) -> str:
    """ " Did you mean 'x'?" of the nearest of these names, or nothing."""
    near = nearest(name, valid)
    return f" Did you mean {near!r}?" if near else ""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """The error for a name nobody registered: the nearest match, if one is near, and the valid ones; of many at most
    ten, that are like it."""
    import difflib

    names = sorted(valid)
    lowered = {candidate.lower(): candidate for candidate in names}
    found = nearest(name.lower(), lowered)
    hint = f" Did you mean {lowered[found]!r}?" if found else ""
    told = f"Valid names: {', '.join(names) or 'none'}."
    if len(names) > 100:
        near = ", ".join(lowered[other] for other in difflib.get_close_matches(name.lower(), lowered, n=10))
        told = f"Among {len(names)} valid names: {near}." if near else f"None of {len(names)} valid names is like it."
    return UserError(f"Unknown {kind} {name!r}.{hint} {told}")


def exits_cleanly(main: Callable[[], int | None]) -> None:
    """Run a command's `main`; a `UserError` becomes one paragraph on stderr, if it says anything, and its exit code.

    So does what a line of a recipe file raises, with that line. All other errors keep their traceback; of one that is
    raised below such a line, it ends with the line.
    Ctrl-C, and a reader of the output that has gone (`... | head`), end it without a word, as they do other commands.
    """
    try:
        with shown_plainly():
            code = _code_of(main)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
        discard(sys.stdout)  # Python flushes once more at its end
        code = 128 + signal.SIGPIPE
    raise SystemExit(code) from None


def ends_process(main: Callable[[], int | None]) -> None:
    """`exits_cleanly`, of a command that has its process to itself: if it was stopped, that ends at once.

    Python would wait for threads that still read, compute or download, and take seconds to tidy up.
    """
    try:
        exits_cleanly(main)
    except SystemExit as ended:
        if ended.code not in (Stopped.code, INTERRUPTED):
            raise
        atexit._run_exitfuncs()  # they end other processes
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code)


def _not_installed(error: Exception) -> str | None:
    """What to do where a package that the toolkit needs is not there at all: this is another Python than its own."""
    if not isinstance(error, ModuleNotFoundError) or not error.name or error.name.startswith("da_toolkit"):
        return None
    return (
        f"The package {error.name} is not installed for {sys.executable}. Activate the environment that da_toolkit was "
        "installed into (after `make demo`: `. .venv/bin/activate`), or install it into this one: "
        "pip install -c constraints.txt -e '.[demo]'."
    )


def discard(file: IO[str]) -> None:
    """Let everything that is written to an open file from now on go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def _code_of(main: Callable[[], int | None]) -> int | str:
    try:
        return main() or 0
    except SystemExit as ended:  # of --help, say
        return ended.code or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except UserError as error:
        if str(error):
            print(f"error: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:
        raise
    except Exception as error:
        if (what := own_code.told(error) or _not_installed(error)) is None:
            if (line := own_code.line_of(error)) is not None:
                error.add_note(f"It was raised below a line of a recipe: {line}.")
            raise
        print(f"error: {what}", file=sys.stderr)
        return EXIT_USER_ERROR


def _reader_has_gone() -> bool:
    """Of stdout; another pipe may be what is broken."""
    import select

    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))
