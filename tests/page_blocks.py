"""Runs the code blocks of a markdown file in their order: `bash` line by line, `python` in one module.

A `python` block that begins with `# NAME.py` is that file instead. A block below `*Not run by the tests: REASON.*`,
which readers see too, is left out.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from da_toolkit import cli

_BLOCK = re.compile(r"(?:^\*Not run by the tests: ([^\n]+)\.\*\n\n?)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)\n")
SHOWN_ONLY = ("mermaid", "text")
"""Languages of blocks that are looked at, not run."""


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str
    reason: str
    """Why it is not run; empty if it is."""


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for found in _BLOCK.finditer(text):
        yield Block(found[2], found[3], found[1] or "")


def run_blocks(file: Path, shortened: Callable[[list[str]], Sequence[str]] = list) -> int:
    """Run all blocks in the current folder, and return how many.

    Args:
        file: the page.
        shortened: makes of a command's words those that are given, so that a test takes seconds.

    Raises:
        AssertionError: a command that fails, or a block in another language.
    """
    count, module = 0, {"__name__": "__main__"}
    for language, code, reason in blocks(file.read_text(encoding="utf-8")):
        if reason or language in SHOWN_ONLY:
            continue
        count += 1
        if language == "python":
            if own := _FILE.match(code):
                Path(own[1]).write_text(code, encoding="utf-8")
            else:
                exec(compile(code, f"{file.name}, block {count}", "exec"), module)
        elif language == "bash":
            for line in code.replace("\\\n", " ").splitlines():
                _command(line, shortened)
        elif language == "json":
            json.loads(code)
        else:
            raise AssertionError(f"{file.name}: a block in {language!r} is neither run nor left alone")
    return count


def _command(line: str, shortened: Callable[[list[str]], Sequence[str]]) -> None:
    words = shlex.split(line, comments=True)
    if not words:
        return
    if words[:2] == ["python", "-m"] and words[2].startswith("da_toolkit."):
        words = ["da-toolkit", words[2].removeprefix("da_toolkit."), *words[3:]]
    if words[0] == "da-toolkit":  # in this process, which has imported torch already
        try:
            code = cli._dispatch(list(shortened(words[1:])))
        except SystemExit as end:  # --help
            code = end.code
    else:
        code = subprocess.run(["bash", "-ec", line]).returncode
    assert not code, f"{line}: exit code {code}"
