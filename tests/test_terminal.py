"""Bars move on live terminals alone: not in files, not on dumb ones, whatever colours are forced."""

import os
import pty
import subprocess
import sys

import pytest

CODE = "from da_toolkit.terminal import live, track; print('live', live()); print(sum(track(range(3), 'counting')))"
PROGRESS = (
    "from da_toolkit.runs.progress import make_progress; p = make_progress(6); print(type(p).__name__);"
    "p.stage('train'); p.report(2, {}, 1.0); p.close()"
)
FORCED = {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TTY_COMPATIBLE": "1"}


def in_terminal(code, **environment):
    """What a command writes to a terminal of its own."""
    ours, its = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=its, stderr=its, env=os.environ | environment)
    os.close(its)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux's end of a terminal
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert process.wait() == 0, said
    return said.decode().replace("\r\n", "\n")


def in_file(code, **environment):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_terminal_is_live():
    assert "live True" in in_terminal(CODE, TERM="xterm")
    assert "LiveProgress" in in_terminal(PROGRESS, TERM="xterm")


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_dumb_terminal_gets_plain_lines(term):
    assert in_terminal(CODE, TERM=term) == "live False\n3\n"
    assert in_terminal(PROGRESS, TERM=term).splitlines()[:3] == [
        "PlainProgress",
        "stage train",
        "step 2/6 [train]  | 1.0 images/s | ETA ?",
    ]


@pytest.mark.parametrize("forced", [{}, FORCED])
def test_a_file_gets_plain_lines_whatever_colours_are_forced(forced):
    assert in_file(CODE, TERM="xterm", **forced) == "live False\n3\n"
    assert in_file(PROGRESS, TERM="xterm", **forced).startswith("PlainProgress\nstage train\nstep 2/6 [train]")


def test_tables_in_a_file_end_their_lines_with_their_words():
    code = (
        "from rich.table import Table; from da_toolkit.terminal import show; table = Table('name', 'what', box=None);"
        "table.add_row('a', 'of a few words'); table.add_row('b'); show(table)"
    )
    *first, last = in_file(code).splitlines()
    assert [line.split() for line in first] == [["name", "what"], ["a", "of", "a", "few", "words"]]
    assert last.strip() == "b" and not any(line.endswith(" ") for line in (*first, last))
