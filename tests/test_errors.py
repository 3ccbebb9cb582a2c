import subprocess
import sys

import pytest

from da_toolkit.errors import UserError, exits_cleanly


def interrupted():
    raise KeyboardInterrupt


def mistaken():
    raise UserError("The file a.png is missing.")


@pytest.mark.parametrize(
    ("main", "code", "told"),
    [(lambda: None, 0, ""), (interrupted, 130, ""), (mistaken, 2, "error: The file a.png is missing.\n")],
)
def test_a_command_ends_with_its_code_and_one_paragraph_at_most(main, code, told, capsys):
    with pytest.raises(SystemExit) as ended:
        exits_cleanly(main)
    assert ended.value.code == code and capsys.readouterr().err == told


def test_a_reader_that_goes_away_ends_a_command_without_a_word():
    program = (
        "from da_toolkit.errors import exits_cleanly\nexits_cleanly(lambda: [print('line') for _ in range(99999)][:0])"
    )
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout.readline() == b"line\n"
    writer.stdout.close()
    assert writer.stderr.read() == b"" and writer.wait(60) == 141
