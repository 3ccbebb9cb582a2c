"""One run a folder, and what the system answers to a lock: each errno means what it says."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from da_toolkit.errors import UserError
from da_toolkit.runs.lock import locked


def answering(monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch, capsys, number):
    answering(monkeypatch, number)
    with locked(tmp_path / "run"):
        assert (tmp_path / ".run.lock").read_text() == str(os.getpid())
    told = capsys.readouterr().err
    assert "has no file locks" in told and str(tmp_path / "run") in told and "set --runs" in told


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_a_lock_that_another_process_has_is_in_use(tmp_path, monkeypatch, number):
    answering(monkeypatch, number)
    with pytest.raises(UserError, match="in use by another run"), locked(tmp_path / "run"):
        pass


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_any_other_error_is_the_disks(tmp_path, monkeypatch, number):
    answering(monkeypatch, number)
    with pytest.raises(UserError, match=f"cannot be written to: {os.strerror(number)}"), locked(tmp_path / "run"):
        pass


def test_another_process_is_refused_until_the_first_lets_go(tmp_path):
    place = str(tmp_path / "run")
    code = f"from pathlib import Path; from da_toolkit.runs.lock import locked\nwith locked(Path({place!r})): pass"

    def other():
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    with locked(tmp_path / "run"):
        assert f"in use by another run (process {os.getpid()})" in other().stderr
    assert other().returncode == 0
