"""How commands show warnings: the toolkit's own as sentences, a library's with its place, and noise not at all."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class Notice(UserWarning):
    """What a user should know and need not mend: commands tell it as a sentence, without a place in the code."""


_NOISE: tuple[tuple[str, type[Warning]], ...] = (
    # Of a machine with fewer cores than --workers, by torch, for each loader: ours wait for images, not for a core.
    (r"This DataLoader will create \d+ worker processes in total", UserWarning),
)
"""Beginnings of libraries' warnings that tell a user nothing to do, each with the reason."""


@contextmanager
def shown_plainly() -> Iterator[None]:
    """While a command runs, notices are printed as "warning: ...", and what is known to be noise is not."""
    before = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if issubclass(category, Notice):
            return f"warning: {message}\n"
        return before(message, category, filename, lineno, line)

    with warnings.catch_warnings():
        warnings.formatwarning = formatted
        for beginning, kind in _NOISE:
            warnings.filterwarnings("ignore", beginning, kind)
        try:
            yield
        finally:
            warnings.formatwarning = before
