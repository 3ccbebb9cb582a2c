"""Commands, addresses and commits as they may be shared: without passwords and absolute paths, and short."""

from pathlib import Path

SQLITE = "sqlite:///"
"""What an address of a SQLite file begins with."""


def portable(word: str) -> str:
    """A word of a command as it may be shared: absolute paths by their last part, addresses without a password."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    scheme = SQLITE if value.startswith(SQLITE) else ""
    path = Path(value.removeprefix(scheme))
    shown = f"{scheme}.../{path.name}" if path.is_absolute() else without_password(value)
    return f"{option}{equals}{shown}"


def without_password(address: str) -> str:
    """`address` as it may be shown and kept: without `user:password@`."""
    scheme, separator, rest = address.partition("://")
    if scheme not in ("http", "https"):
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def short_commit(commit: object) -> str:
    """For tables: ten digits of what `git_commit` found, and whether files differed."""
    text = str(commit)
    return text[:10] + ("-dirty" if text.endswith("-dirty") else "")
