"""Provenance: versions, commit, memory, and JSON files written whole or not at all."""

import errno
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import da_toolkit
from da_toolkit.errors import UserError
from da_toolkit.files import write_json
from da_toolkit.runs.provenance import environment, git_commit, peak_memory_mb
from da_toolkit.shareable import short_commit


def _git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, "-C", str(folder), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    _git(folder, "init", "-q")
    (folder / "code.py").write_text("1\n")
    _git(folder, "add", "code.py")
    _git(folder, "commit", "-q", "--no-verify", "-m", "first")
    return folder


@pytest.mark.parametrize(
    "word, told",
    [
        ("/a/b", ".../b"),
        ("--runs=/c/d", "--runs=.../d"),
        ("--runs=/data/year=2020/r", "--runs=.../r"),
        ("/data/run=3/x", ".../x"),
        ("e/f", "e/f"),
        ("--seed", "--seed"),
        ("sqlite:////home/me/mlflow.db", "sqlite:///.../mlflow.db"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("--tracking=http://me:secret@host:5000", "--tracking=http://host:5000"),
    ],
)
def test_the_command_tells_neither_folders_of_the_machine_nor_passwords(monkeypatch, word, told) -> None:
    monkeypatch.setattr("sys.argv", ["/x/run.py", "fda_gta", word])
    assert environment(torch.device("cpu"))["command"] == f"run.py fda_gta {told}"


def test_environment_is_json_with_the_versions_that_matter() -> None:
    found = json.loads(json.dumps(environment(torch.device("cpu"))))
    assert found["versions"]["da_toolkit"] == da_toolkit.__version__
    for package in ("torch", "torchvision", "timm", "lightning", "albumentations", "kornia", "numpy"):
        assert found["versions"][package] == version(package)
    assert found["device"].startswith(f"cpu ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()}")
    assert found["cpus"] >= 1
    assert found["platform"]


def test_commit_says_when_files_differ(checkout: Path) -> None:
    head = _git(checkout, "rev-parse", "HEAD")
    assert git_commit(checkout) == head
    (checkout / "new.py").write_text("untracked files are no change\n")
    assert git_commit(checkout) == head
    (checkout / "code.py").write_text("2\n")
    assert git_commit(checkout) == f"{head}-dirty"


def test_results_are_no_change_but_label_tables_are(checkout: Path) -> None:
    for name in ("benchmarks/results/accuracy.json", "own/table.json"):
        (checkout / name).parent.mkdir(parents=True)
        (checkout / name).write_text("1")
    _git(checkout, "add", ".")
    _git(checkout, "commit", "-q", "--no-verify", "-m", "second")
    head = _git(checkout, "rev-parse", "HEAD")
    (checkout / "benchmarks/results/accuracy.json").write_text("2")
    assert git_commit(checkout) == head and short_commit(head) == head[:10]
    (checkout / "own/table.json").write_text("2")
    assert git_commit(checkout) == f"{head}-dirty" and short_commit(f"{head}-dirty") == f"{head[:10]}-dirty"


def test_no_commit_outside_a_checkout_or_in_an_untracked_folder(checkout: Path, tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    installed = checkout / ".venv" / "da_toolkit"
    installed.mkdir(parents=True)
    (installed / "code.py").write_text("")
    assert git_commit(installed) is None


def test_no_commit_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit(checkout) is None


def test_peak_memory_counts_what_was_held() -> None:
    before = peak_memory_mb(torch.device("cpu"))
    held = torch.ones(int(before * 2**20) // 4 + 2**24)  # as much as the peak, and 64 MiB more
    assert peak_memory_mb(torch.device("cpu")) - before > 40
    assert peak_memory_mb(torch.device("cpu")) < 4 * before + 1000
    del held


def test_json_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "result.json"
    write_json(path, {"miou": 1.0})
    write_json(path, {"miou": 41.5, "city": "Zürich"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"miou": 41.5, "city": "Zürich"}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space is left. Free space there"),
        (errno.EROFS, "Read-only file system. Make it writable"),
        (errno.EACCES, "Permission denied. Make it writable"),
    ],
)
def test_a_disk_that_refuses_keeps_the_old_file(
    number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"miou": 1.0})

    def refuse(self: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(UserError, match=words) as caught:
        write_json(path, {"miou": 2.0})
    assert str(tmp_path) in str(caught.value)
    assert "--runs" in str(caught.value)
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"miou": 1.0}
    assert list(tmp_path.iterdir()) == [path]


def test_what_json_cannot_hold_touches_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "result.json", {"tensor": torch.ones(1)})
    assert list(tmp_path.iterdir()) == []
