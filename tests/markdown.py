"""Runs the code blocks of a markdown file in their order: `bash` line by line, `python` in one module."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from da_toolkit import cli

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN_ONLY = ("", "json", "mermaid", "text")
"""Languages of blocks that are looked at, not run."""


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """(language, code) of each fenced block."""
    for found in _BLOCK.finditer(text):
        yield found[1], found[2]


def run_blocks(file: Path, shortened: Callable[[list[str]], Sequence[str]] = list) -> int:
    """Run all blocks in the current folder, and return how many.

    Args:
        file: the page.
        shortened: makes of a command's words those that are given, so that a test takes seconds.

    Raises:
        AssertionError: a command that fails, or a block in another language.
    """
    count, module = 0, {"__name__": "__main__"}
    for language, code in blocks(file.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(code, f"{file.name}, block {count + 1}", "exec"), module)
        elif language == "bash":
            for line in code.replace("\\\n", " ").splitlines():
                _command(line, shortened)
        else:
            assert language in SHOWN_ONLY, f"{file.name}: a block in {language!r} is neither run nor left alone"
            continue
        count += 1
    return count


def _command(line: str, shortened: Callable[[list[str]], Sequence[str]]) -> None:
    words = shlex.split(line, comments=True)
    if not words:
        return
    if words[0] == "da-toolkit":  # in this process, which has imported torch already
        code = cli._dispatch(list(shortened(words[1:])))
    else:
        code = subprocess.run(["bash", "-ec", line]).returncode
    assert not code, f"{line}: exit code {code}"
