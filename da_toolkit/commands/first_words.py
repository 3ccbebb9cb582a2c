"""argparse for the words in front of a command's settings, with refusals in a sentence."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from da_toolkit.errors import UserError
from da_toolkit.flags import near_flags, unknown_flag


class Parser(argparse.ArgumentParser):
    """What it refuses is a `UserError`; what it does not know is left to others."""

    def __init__(self, prog: str, description: str | None = None) -> None:
        super().__init__(prog=prog, description=description, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}. `{self.prog} --help` tells more.")

    def refuse_misspelt(self, rest: Sequence[str]) -> None:
        """Raise `UserError` for the first word left over that is like a flag of these; others may be settings."""
        valid = [flag for action in self._actions for flag in action.option_strings]
        for word in rest:
            if word.startswith("--") and word != "--help" and near_flags(word, valid):
                raise unknown_flag(word, valid, self.prog)

    def refuse_before(self, value: str, what: str, words: Sequence[str], rest: Sequence[str]) -> None:
        """Raise `UserError` if a word that is left over stands before the command's first value, and may be a flag
        that this value belongs to."""
        self.refuse_misspelt([word for word in rest[:1] if words.index(word) < words.index(value)])
        early = [*rest[:1], value]
        if min(early, key=words.index) != value or value.startswith("-"):
            raise UserError(f"The {what} comes first: {self.prog} {what.upper()} {early[0]} ...")
