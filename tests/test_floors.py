"""The floors of docs/architecture.md hold, and what checks them would notice if they did not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint(folder):
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "setup.cfg"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("data/labels.py", "from da_toolkit.runs import runtime", "No import runs up a floor"),
        ("terms/step.py", "from da_toolkit.methods.mixing import class_mix", "No import runs up a floor"),
        (
            "runs/log.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from da_toolkit.runs.session import Session",
            "No two files import each other",
        ),
        ("settings/optim.py", "import torch", "Settings need no torch"),
        ("stray.py", '"""A file that stands on no floor."""', "da_toolkit.stray"),
    ],
)
def test_a_forbidden_import_is_noticed(tmp_path, file, line, broken):
    shutil.copytree(ROOT / "da_toolkit", tmp_path / "da_toolkit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    with (tmp_path / "da_toolkit" / file).open("a") as opened:
        opened.write(f"\n{line}\n")
    code, text = lint(tmp_path)
    assert (code == 1 and f"{broken} BROKEN" in " ".join(text.split())) or "stray" in text, text


def test_no_import_runs_up():
    code, text = lint(ROOT)
    assert code == 0 and "3 kept, 0 broken" in text, text


def test_recipes_import_from_five_places():
    allowed = {f"da_toolkit.{place}" for place in ("data", "models", "methods", "regularizers", "recipe")}
    for file in sorted((ROOT / "recipes").glob("*.py")):
        places = {line.split()[1] for line in file.read_text().splitlines() if line.startswith(("from ", "import "))}
        assert places <= allowed, file.name
