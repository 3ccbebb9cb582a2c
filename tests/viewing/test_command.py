"""The command `view`: ports, places, Ctrl-C, and what it loads."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from da_toolkit.errors import UserError
from da_toolkit.viewing.server import LOOPBACK, address_of, listening
from da_toolkit.viewing.watch import Watch


def test_a_port_in_use_is_told_with_the_remedy_and_the_usual_one_gives_way() -> None:
    with listening(None) as first, listening(None) as second:
        assert first.getsockname()[0] == second.getsockname()[0] == LOOPBACK == "127.0.0.1"
        assert second.getsockname()[1] != first.getsockname()[1]
        taken = first.getsockname()[1]
        with pytest.raises(UserError, match=rf"Port {taken} of 127.0.0.1 is in use .* --port"):
            listening(taken)
    with listening(taken) as again:
        assert again.getsockname()[1] == taken


@pytest.mark.parametrize("port", [0, -1, 65536, 10**30])
def test_a_port_that_is_none_is_refused(port) -> None:
    with pytest.raises(UserError, match=f"--port must be between 1 and 65535, got {port}"):
        listening(port)


def test_a_place_that_is_no_folder_is_refused(tmp_path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(UserError, match=f"{place.name} is not a folder"):
            Watch([place])


def test_it_serves_a_folder_without_runs_until_ctrl_c(tmp_path) -> None:
    command = [sys.executable, "-m", "da_toolkit.view", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | {"PYTHONUNBUFFERED": "1"}, **pipes) as process:
        said = process.stdout.readline()
        shows = rf"shows {tmp_path} \(no run yet; .*\)\. Ctrl-C ends it\.\n"
        found = re.fullmatch(r"(http://127\.0\.0\.1:\d+/) " + shows, said)
        assert found, (said, process.stderr.read())
        with urllib.request.urlopen(found[1]) as answer:
            page = answer.read().decode()
        assert "<title>Runs</title>" in page and 'id="slider"' in page
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


def test_it_listens_on_loopback_alone() -> None:
    with listening(None) as opened, socket.socket(socket.AF_INET) as other:
        assert address_of(opened).startswith("http://127.0.0.1:")
        other.bind(("127.0.0.2", opened.getsockname()[1]))  # would be taken if it listened on all addresses


def test_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, da_toolkit.commands.view; assert not {'torch', 'scipy', 'matplotlib', 'sklearn', 'mlflow', "
        "'lightning', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
