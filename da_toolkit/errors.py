"""Errors that are the user's to mend: one paragraph, exit code 2, never a traceback."""

import difflib
import os
import signal
import sys
from collections.abc import Callable, Iterable

EXIT_USER_ERROR = 2


class UserError(Exception):
    """A mistake outside the code: the message names the file, the setting and the remedy."""

    code = EXIT_USER_ERROR


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """The error for a name nobody registered: lists the valid ones and the nearest match."""
    names = sorted(valid)
    lowered = {candidate.lower(): candidate for candidate in names}
    nearest = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.4)
    hint = f" Did you mean {lowered[nearest[0]]!r}?" if nearest else ""
    return UserError(f"Unknown {kind} {name!r}.{hint} Valid names: {', '.join(names) or 'none'}.")


def exits_cleanly(main: Callable[[], int | None]) -> None:
    """Run a command's `main`; a `UserError` becomes one paragraph on stderr, if it says anything, and its exit code.

    Ctrl-C, and a reader of the output that has gone (`... | head`), end it without a word, as they do other commands.
    """
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        raise SystemExit(128 + signal.SIGPIPE) from None
    except UserError as error:
        if str(error):
            print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.code) from None
    raise SystemExit(code or 0)
