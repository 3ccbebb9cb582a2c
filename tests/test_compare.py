"""The compare command on runs as the trainer leaves them, on made-up ones, and on mistakes."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from da_toolkit import terminal
from da_toolkit.commands import compare
from da_toolkit.errors import UserError
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import compare_speed


def call(monkeypatch, *words) -> None:
    compare.main([*map(str, words)], "compare")


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("made_up") / "runs"
    for recipe, skill in (("source_only_gta", 0.5), ("method_gta", 0.7), ("oracle_gta", 0.9)):
        for seed in range(2):
            compare_speed.write_run(root, recipe, seed, skill, images=20, size=32)
    return root


def test_two_trained_runs_are_compared_with_interval_validators_and_pictures(
    tmp_path, tiny_recipe, monkeypatch, capsys
):
    from da_toolkit.evaluation.inference import Evaluation
    from da_toolkit.methods import Adversarial, SourceOnly

    evaluation = Evaluation(every=1, validators=1)
    for name, method in (("floor", SourceOnly()), ("ours", Adversarial())):
        recipe = tiny_recipe(method, steps=2, evaluation=evaluation)
        Session(name, recipe, Runtime(runs=tmp_path / "runs", workers=0, tracking="none")).run()
    call(monkeypatch, tmp_path / "runs", "--output", tmp_path / "out")
    told = capsys.readouterr().out
    assert "no interval" not in told and "entropy" in told and "vs. floor" in told
    lines = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert [line["recipe"] for line in lines] == ["floor", "ours"]
    low, middle, high = (float(lines[1][name]) for name in ("difference_low", "difference", "difference_high"))
    assert low <= high and middle == pytest.approx(float(lines[1]["miou"]) - float(lines[0]["miou"]))
    page = (tmp_path / "out" / "index.html").read_text()
    assert "data:image/jpeg;base64," in page and "soft_neighbourhood_density" in page and "<polyline" in page


def test_all_files_are_written(made_up, tmp_path, monkeypatch, capsys):
    begun = tmp_path / "begun" / "0"
    begun.mkdir(parents=True)
    (begun / "recipe.json").write_text("{}")
    call(monkeypatch, made_up, tmp_path, "--output", tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "index.html",
        "table.csv",
        "table.md",
        "table.tex",
    ]
    told = capsys.readouterr().out
    assert "vs. source_only_gta" in told and "oracle: uses target labels" in told and "written:" in told
    assert f"not finished and left out: {begun}" in told
    assert any("seeds" in line and "memory" in line for line in told.splitlines())  # a pipe gets tables whole


def test_a_terminal_gets_tables_in_parts_that_fit_it(made_up, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(terminal, "live", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    call(monkeypatch, made_up, "--output", "out")
    told = capsys.readouterr().out
    assert "seeds" in told and "memory" in told and max(map(len, told.splitlines())) <= 80
    assert not any("seeds" in line and "memory" in line for line in told.splitlines())


@pytest.mark.parametrize(
    ("format", "begins"),
    [("markdown", "## cityscapes19"), ("csv", "protocol,recipe"), ("latex", "% \\use"), ("html", "<!DOCTYPE html>")],
)
def test_one_format_alone_is_printed_and_nothing_written(made_up, tmp_path, monkeypatch, capsys, format, begins):
    monkeypatch.chdir(tmp_path)
    call(monkeypatch, made_up, "--format", format, "--baseline", "method_gta", "--protocol", "cityscapes19")
    assert capsys.readouterr().out.startswith(begins) and not list(tmp_path.iterdir())


def test_notes_stand_beside_a_csv_on_stderr(made_up, tmp_path, monkeypatch, capsys):
    runs = shutil.copytree(made_up, tmp_path / "runs")
    for file in (runs / "oracle_gta").rglob("result.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "steps": 77}))
    call(monkeypatch, runs, "--format", "csv", "--protocol", "cityscapes19")
    table, notes = capsys.readouterr()
    assert table.startswith("protocol,recipe") and "Runs differ" not in table
    assert "Runs differ in training steps" in notes


def test_a_folder_that_cannot_be_written_is_named(made_up, tmp_path, monkeypatch):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match=r"out cannot be written to: .*Set --output"):
        call(monkeypatch, made_up, "--output", tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere is not a folder"),
        ([], "runs is not a folder"),
        (["empty"], "No finished run in empty"),
        (["broken"], "result.json is damaged"),
        (["RUNS", "--baseline", "metod_gta"], "Did you mean 'method_gta'"),
        (["RUNS", "--protocol", "synthia16"], "Valid names: cityscapes19"),
        (["RUNS", "--format", "pdf"], "--format"),
    ],
)
def test_mistakes_end_with_code_two_and_no_traceback(made_up, tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_text("{")
    words = [str(made_up) if word == "RUNS" else word for word in words]
    command = [sys.executable, "-m", "da_toolkit.compare", *words]
    root = str(Path(compare.__file__).parent.parent)
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True)
    text = done.stdout + done.stderr
    assert done.returncode == 2, text
    assert said in text.replace("\n", " ") and "Traceback" not in text


def test_comparing_imports_neither_torch_nor_scipy_nor_matplotlib(made_up):
    code = (
        "import sys, da_toolkit.commands.compare; assert not {'torch', 'scipy', 'matplotlib', 'sklearn', 'mlflow'} & "
        "set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_benchmarks_table_reads_its_result():
    result = {
        **{"runs": 30, "images": 500, "classes": 19, "seconds": {"all files": 2.04}, "page_mb": 2.5, "load": 1.0},
        **{"device": "cpu (x)", "cpus": 2, "commit": None},
    }
    assert "| all files | 2.0 |" in compare_speed.table(json.loads(json.dumps(result)))
