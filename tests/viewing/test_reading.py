"""What is read of a run's folder: curves, classes, settings; and of damaged and foreign folders, what is wrong."""

import json
import os
import time

import numpy as np
import pytest

from da_toolkit.runs.metrics_file import MetricsFile
from da_toolkit.viewing.classes import confusion_of, iou_of
from da_toolkit.viewing.look import QUIET, look_at
from da_toolkit.viewing.metrics import read_metrics, thinned
from da_toolkit.viewing.reading import as_json
from da_toolkit.viewing.settings import settings_of
from da_toolkit.viewing.watch import Watch


def test_reports_become_curves_stages_and_warnings(make_run) -> None:
    look = look_at(make_run("a/0"), "a/0")
    assert look.metrics.curves == {
        "loss": {"seg": [(20, 2.0), (40, 1.0)]},
        "score": {"miou_toy": [(40, 30.0), (60, 40.0)], "validator_entropy": [(40, 0.5), (60, 0.7)]},
        "knowledge": {"rpt_regions": [(60, 7.0)]},
        "other": {"images_per_second": [(20, 3.0), (40, 4.0)]},
    }
    assert look.metrics.stages == [(0, 1.0), (60, 2.0)] and look.stage == "round 1"
    assert look.metrics.warnings == [(60, "warning: since step 40, <b>it</b> collapses.")]
    assert (look.step, look.steps, look.miou, look.method) == (60, 100, {"toy": 40.0}, "Adversarial")


def test_a_warning_that_a_run_writes_is_read(tmp_path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.write({"seg": 1.5, "other_loss": float("nan")}, 10)
    file.warn("warning: a 'quoted' line\nand another", 20)
    read = read_metrics(file.path, problems := [])
    assert problems == [] and read.curves == {"loss": {"seg": [(10, 1.5)]}}
    assert read.warnings == [(20, "warning: a 'quoted' line\nand another")] and read.step == 20


def test_a_line_that_is_being_written_waits_and_damaged_ones_are_told(tmp_path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "seg": 2}\n{"step": 2, "seg": 1, "x": NaN, "y": "text", "z": true}\n{"step": 3, "se')
    read = read_metrics(file, problems := [])
    assert problems == [] and read.curves == {"loss": {"seg": [(1, 2.0), (2, 1.0)]}}
    file.write_text('[]\n{"seg": 2}\n{"step": -1}\n{"step": 1, "seg": 5}\n{"step": 1, "seg": 6}\nx\n\n')
    read = read_metrics(file, problems)
    assert read.curves == {"loss": {"seg": [(1, 6.0)]}}, "of a step reported twice, the later one counts"
    assert problems == ["metrics.jsonl: 4 lines are damaged and left out, the first is line 1."]


def test_thinned_curves_keep_their_ends_and_their_peaks() -> None:
    points = [(step, float(step % 7)) for step in range(10_000)]
    points[5_003] = (5_003, 1e6)
    kept = thinned(points, 400)
    assert len(kept) <= 400 and (5_003, 1e6) in kept and kept == sorted(kept)
    assert kept[0][0] < 50 and kept[-1][0] > 9_950 and set(kept) <= set(points)
    assert thinned(points[:10], 400) == points[:10]


def test_a_confusion_matrix_is_that_of_the_result_or_the_sum_over_images(make_run) -> None:
    look = look_at(make_run("a/0"), "a/0")
    names, matrix = confusion_of(look.folder, look.result, look.recipe, problems := [])
    assert names == ["road", "car", "pole"] and matrix == [[16, 4, 0], [2, 6, 0], [0, 0, 0]]
    kept = {"confusion": {"classes": ["x", "y"], "matrix": [[1, 2], [3, 4]]}}
    assert confusion_of(look.folder, kept, look.recipe, problems) == (["x", "y"], [[1, 2], [3, 4]])
    assert problems == []
    assert iou_of(names, matrix) == {
        "road": pytest.approx(100 * 16 / 22),
        "car": pytest.approx(100 * 6 / 12),
        "pole": None,
    }


@pytest.mark.parametrize("matrix", [[[1, 2]], [1], "ab", [[1, 2], [3]]])
def test_a_matrix_that_is_none_is_told_or_passed_over(make_run, matrix) -> None:
    folder = make_run("a/0")
    (folder / "confusions.npz").unlink()
    problems: list[str] = []
    assert confusion_of(folder, {"confusion": {"classes": ["x"], "matrix": matrix}}, {}, problems) == ([], [])
    assert problems == (["The confusion matrix is damaged (it is not square) and left out."] if matrix != "ab" else [])


def test_settings_are_flat_and_called_as_on_the_command_line() -> None:
    recipe = {
        "class": "da_toolkit.recipe.Recipe",
        "method": {"class": "da_toolkit.methods.Adversarial", "regularizers": [{"class": "x.RPT", "weight": 0.5}]},
        "evaluation": {"scales": [1.0, 2.0], "window": None},
    }
    assert settings_of(recipe, [{"runtime": {"seed": 1}}, {"runtime": {"seed": 3}, "device": "cpu"}]) == {
        "class": "Recipe",
        "method": "Adversarial",
        "method.regularizers.0": "x.RPT",
        "method.regularizers.0.weight": "0.5",
        "evaluation.scales": "1.0, 2.0",
        "evaluation.window": "none",
        "run.seed": "3",
        "run.device": "cpu",
    }


def test_states_follow_from_result_and_the_time_of_the_last_change(make_run, tmp_path) -> None:
    now = time.time()
    training, finished = look_at(make_run("a/0"), "a"), look_at(make_run("b/0", result={}), "b")
    assert training.state(now) == "training" and training.state(now + QUIET + 60) == "quiet"
    assert finished.state(now) == "finished" == finished.state(now + 10**6)
    assert finished.miou == {"toy": 50.0} and finished.step == 100
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "recipe.json").write_text('{"name": "soup", "schedule": ["noon"], "target": 3, "method": []}')
    look = look_at(foreign, "foreign")
    assert look.state(now) == "unreadable" and json.loads(as_json(look.details()))["classes"] == {}


VALUES = [None, 3, -1.5, "text", [], {}, [[]], {"a": {"b": [1, None, {"c": float("nan")}]}}, True, 10**400, "\ud800"]


@pytest.mark.parametrize("name", ["recipe.json", "result.json", "environment.json", "metrics.jsonl"])
def test_no_content_of_a_file_stops_the_page(make_run, name) -> None:
    folder = make_run("a/0", result={})
    whole = (folder / name).read_bytes()
    damaged = [b"", b"\xff\x00", whole[: len(whole) // 2], b"[" * 100_000, b"1" * 5000]
    known = json.loads(whole) if name != "metrics.jsonl" else {"step": 1, "stage": 1, "time": 1, "warning": "x"}
    known = known[0] if isinstance(known, list) else known
    for value in VALUES:
        damaged += [json.dumps(changed).encode() for changed in _changed(known, value)] + [json.dumps(value).encode()]
    for content in damaged:
        (folder / name).write_bytes(content + b"\n")
        look = look_at(folder, "a/0")
        told = json.loads(as_json({"details": look.details(), "line": look.summary()}))
        assert told["line"]["label"] == "a/0"


def _changed(value, other):
    """The value with one entry, at any depth, replaced by the other."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        for changed in [other, *_changed(entry, other)]:
            copy = value.copy()
            copy[key] = changed
            yield copy


def test_damaged_arrays_and_folders_in_place_of_files_are_told(make_run) -> None:
    folder = make_run("a/0")
    (folder / "confusions.npz").write_bytes(b"PK\x03\x04 no zip")
    (folder / "result.json").mkdir()
    details = look_at(folder, "a/0").details()
    assert len(details["problems"]) == 1 and "confusions.npz is damaged" in details["problems"][0]
    np.savez_compressed(folder / "confusions.npz", counts=np.ones((2, 3, 4)))
    assert "counts of shape (2, 3, 4)" in look_at(folder, "a/0").details()["problems"][0]


def test_runs_are_found_when_they_begin_and_named_so_that_they_differ(make_run, tmp_path, monkeypatch) -> None:
    make_run("x/adaptseg/0"), make_run("y/adaptseg/0"), make_run("y/other/0")
    watch = Watch([tmp_path / "runs", tmp_path / "runs" / "y"])
    monkeypatch.setattr("da_toolkit.viewing.watch._PAUSE", 0)
    monkeypatch.setattr("da_toolkit.viewing.watch._SHARE", 0)
    assert [look.label for look in watch.runs().values()] == ["x/adaptseg/0", "y/adaptseg/0", "other/0"]
    folder = make_run("z/0")
    assert [look.label for look in watch.runs().values()][-1] == "z/0"
    key, look = list(watch.runs().items())[-1]
    assert watch.run(key) is look, "what has not changed is not read again"
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 80, "seg": 0.5}\n')
    assert watch.run(key).step == 80 and watch.run(key).version != look.version
    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    os.rmdir(folder)
    assert key not in watch.runs() and watch.run(key) is None
