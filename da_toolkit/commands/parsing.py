"""How every command reads its settings: what tyro refuses is a `UserError` of one paragraph, with what is near."""

import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TypeVar

import tyro

from da_toolkit.errors import UserError, meant
from da_toolkit.flags import unknown_flag

T = TypeVar("T")
_COLUMNS = "129"
"""Width in which tyro breaks no flag and still has all of them below each other."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m|\[/?bold\]")
_FLAG = re.compile(r"--[A-Za-z]|-(?!inf|nan)[A-Za-z]{2}")
_ROW_OF_FLAGS = re.compile(r"│ (-[^\s,]+(?:, -[^\s,]+)*)")
"""In tyro's help; explanations are further to the right."""
_SUBCOMMAND = re.compile(r"│\s+• (\S+)", re.MULTILINE)
_CHOICE = re.compile(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)", re.IGNORECASE)
_NO_TYPE = re.compile(r"Error parsing (.*): no type matching (.*) could be instantiated from \[(.*)\]")
_NO_NUMBER = re.compile(
    r"Error parsing (.*): (?:invalid literal for int\(\)|could not convert string to (float)).*: ['\"](.*)['\"]"
)
_NO_TUPLE = re.compile(
    r"Error parsing (.*): Could not parse arguments (\[.*\]) into tuple type typing\.Tuple\[(\w+)(.*)\]"
)
_KINDS = {
    "int": ("a whole number", "whole numbers"),
    "float": ("a number", "numbers"),
    "str": ("a word", "words"),
    "path": ("a file or folder", "files or folders"),
}
_METAVAR = r"[^\s\]]+(?: [A-Z]+}?(?=\s))*"
"""What stands after a flag in help, such as "INT INT" or "{None}|PATH"."""
_UNRECOGNIZED = re.compile(r"Unrecognized options: (.*)")
_MISSING = re.compile(r"Missing from (.*?): ")
_MISSING_VALUE = re.compile(r"Missing value for argument '(--.*?)'")
_MISSING_WORD = re.compile(r"Missing value for argument '([^-].*?)'")


def parsed(kind: type[T], words: Sequence[str], prog: str, besides: Sequence[str] = (), **how: Any) -> T:
    """`tyro.cli`, of which a refusal is one paragraph; --help prints and ends as ever.

    Args:
        kind: what is made of the words, a settings class or a union of subcommands.
        besides: flags that the command takes besides those of `kind`, to be offered too.
        how: further arguments of `tyro.cli`.

    Raises:
        UserError: an unknown flag or word with what is near, a missing or a wrong value.
    """

    def tell(asked: Sequence[str]) -> T:
        made: T = tyro.cli(kind, args=asked, prog=prog, **how)
        return made

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            made = tell(words)
    except SystemExit as ended:
        if not ended.code:
            raise
    except BaseException:  # of a recipe's settings, after what they warned of
        sys.stderr.write(said.getvalue())
        raise
    else:
        sys.stderr.write(said.getvalue())  # what a recipe's settings warn of
        return made
    raise _refusal(tell, list(words), prog, besides)


def _refusal(tell: Callable[[Sequence[str]], object], words: list[str], prog: str, besides: Sequence[str]) -> UserError:
    help = _said(tell, ["--help"])
    subcommands = _SUBCOMMAND.findall(help)
    verbs = [name for name in subcommands if ":" not in name]  # others choose a setting's kind
    chosen = [word for word in words if word in subcommands]

    def helps() -> list[str]:
        """Of the command, and of the subcommands chosen."""
        return [help, *(_said(tell, [*chosen[: place + 1], "--help"]) for place in range(len(chosen)))]

    rows = _rows(_said(tell, words))
    text = " ".join(" ".join(rows).split()).rstrip(".").replace("Expected 1 values", "Expected 1 value")
    more = f"`{prog} --help` tells more."
    unrecognized = _UNRECOGNIZED.match(text)
    if unrecognized or _MISSING.match(text) or _MISSING_WORD.match(text):
        known = {*besides}.union(*map(_flags, helps()))
        if flag := _first_unknown(words, known):
            return unknown_flag(flag, known, " ".join([prog, *chosen[:1]]))
    if verbs and not chosen:
        first = f", got {words[0]!r}.{meant(words[0], verbs)}" if words else "."
        return UserError(f"{prog} takes one of {', '.join(verbs)}{first} {more}")
    if unrecognized:
        word = unrecognized[1].split(", ")[0]
        before = words[words.index(word) - 1].replace("_", "-") if word in words[1:] else ""
        switch = before.replace("--no-", "--", 1)
        if f"--no-{switch[2:]}" in known:
            return UserError(f"{switch} takes no value, got {word!r}: --no-{switch[2:]} turns it off. {more}")
        return UserError(f"{prog}: nothing takes the word {word!r}. {more}")
    if found := _CHOICE.match(text):
        value, name, choices = found[1], found[2], re.findall("'([^']*)'", found[3])
        return UserError(f"{name} takes one of {', '.join(choices)}, got {value!r}.{meant(value, choices)} {more}")
    if found := _MISSING_VALUE.match(text):
        takes = re.search(rf"{re.escape(found[1])} +({_METAVAR})", "\n".join(helps()))
        wanted = _in_words(takes[1].replace("{None}|", "")) if takes else "a value"
        return UserError(f"{found[1]} needs {wanted}. {more}")
    if found := _MISSING.match(text):
        names = [row.split()[0].strip("{}") for row in rows[1:] if re.match(r" {4}\S", row)]
        return UserError(f"{found[1]} needs {', '.join(names)}. `{found[1]} --help` tells more.")
    if found := _NO_TYPE.match(text):
        return UserError(f"{found[1]} takes {_in_words(found[2])}, got {found[3] or 'nothing'}. {more}")
    if found := _NO_NUMBER.match(text):
        return UserError(f"{found[1]} takes {_KINDS[found[2] or 'int'][0]}, got {found[3]!r}. {more}")
    if found := _NO_TUPLE.match(text):
        count, kind = 1 + found[4].count(","), _KINDS.get(found[3], ("", found[3]))[1]
        many = "" if "..." in found[4] else f"{count} "
        return UserError(f"{found[1]} takes {many}{kind}, got {found[2]}. {more}")
    return UserError(f"{text}. {more}")


def _in_words(types: str) -> str:
    """What tyro calls "{None}|{INT INT}" or "{a,b}", as a sentence would: "None or 2 whole numbers", "one of a, b"."""
    said = []
    for words in (kind.strip("{}").split() for kind in types.split("|")):
        one, many = _KINDS.get(" ".join(dict.fromkeys(words)).lower(), ("", ""))
        choices = f"one of {words[0].replace(',', ', ')}" if "," in words[0] else " ".join(words)
        said.append((one if len(words) == 1 else f"{len(words)} {many}") if one else choices)
    return " or ".join(dict.fromkeys(said))


def _first_unknown(words: list[str], known: set[str]) -> str:
    """The first flag among the words that is none of the known ones, as it was typed; nothing if there is none."""
    plain = {flag.replace("_", "-") for flag in known} | {"-h", "--help"}
    before = words[: words.index("--")] if "--" in words else words
    flags = (word.partition("=")[0] for word in before if _FLAG.match(word))
    return next((flag for flag in flags if flag.replace("_", "-") not in plain), "")


def _flags(help: str) -> set[str]:
    rows = [found[1] for line in help.splitlines() if (found := _ROW_OF_FLAGS.match(line))]
    return {flag for row in rows for flag in row.split(", ") if flag.startswith("--")}


def _rows(box: str) -> list[str]:
    """The lines of the first part of what tyro draws, without its frame."""
    rows = []
    for line in box.splitlines()[1:]:
        row = line.strip("│╭╮╰╯").rstrip()[1:]
        if set(row) <= {"─"}:
            break
        rows.append(row)
    return rows


def _said(tell: Callable[[Sequence[str]], object], words: Sequence[str]) -> str:
    """What tyro prints."""
    said = io.TextIOWrapper(io.BytesIO(), "utf-8")  # by whose name tyro chooses how it draws frames
    try:
        with _columns(), redirect_stdout(said), redirect_stderr(said):
            tell(words)
    except SystemExit:
        pass
    said.seek(0)
    return _COLOURS.sub("", said.read())


@contextmanager
def _columns() -> Iterator[None]:
    """tyro fits its text to the terminal, whose width the environment may tell."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _COLUMNS
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
