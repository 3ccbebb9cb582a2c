"""What a run's `environment.json` tells of its starts."""

import json
import warnings

import pytest
import torch

from da_toolkit.notices import Notice
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.starts import keep_start, precision_of

CPU = torch.device("cpu")
HALF = Runtime(precision="bf16-mixed")


def test_precision_that_was_changed_is_told_with_its_steps(tmp_path):
    keep_start(tmp_path, 0, Runtime(), CPU, "")
    keep_start(tmp_path, 4, Runtime(), CPU, "")
    assert precision_of(tmp_path, "32-true") == "32-true"
    with pytest.warns(Notice, match=r"^precision 32-true until step 6, bf16-mixed from there on"):
        keep_start(tmp_path, 6, HALF, CPU, "")
    assert precision_of(tmp_path, "bf16-mixed") == "32-true, bf16-mixed from step 6"


def test_a_start_that_trained_nothing_does_not_count(tmp_path):
    keep_start(tmp_path, 0, Runtime(), CPU, "")
    with pytest.warns(Notice):
        keep_start(tmp_path, 6, HALF, CPU, "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keep_start(tmp_path, 6, Runtime(), CPU, "")
    assert precision_of(tmp_path, "32-true") == "32-true"


def started(*starts):
    return json.dumps([{"step": step, "runtime": {"precision": precision}} for step, precision in starts])


@pytest.mark.parametrize(
    ("starts", "told"),
    [
        ([(0, "a"), (500, "b"), (700, "b"), (400, "a")], "a"),  # back before all of b
        ([(0, "a"), (500, "b"), (600, "a"), (500, "a")], "a"),
        ([(0, "a"), (500, "b"), (700, "a"), (600, "a")], "a, b from step 500, a from step 600"),
        ([(0, "a"), (500, "b"), (0, "b")], "b"),
    ],
)
def test_what_an_older_checkpoint_has_undone_does_not_count(tmp_path, starts, told):
    (tmp_path / "environment.json").write_text(started(*starts))
    assert precision_of(tmp_path, "c") == told


def test_a_damaged_start_hides_no_other(tmp_path):
    (tmp_path / "environment.json").write_text('[{"step": 0}, ' + started((4, "32-true"))[1:])
    with pytest.warns(Notice, match=r"^precision 32-true until step 6"):
        keep_start(tmp_path, 6, HALF, CPU, "")


@pytest.mark.parametrize("content", [None, "{", "{}", "[1]", '[{"step": 0}]', '[{"step": "x", "runtime": {}}]'])
def test_of_a_damaged_file_only_this_process_is_known(tmp_path, content):
    file = tmp_path / "environment.json"
    if content is not None:
        file.write_text(content)
    assert precision_of(tmp_path, "16-mixed") == "16-mixed"
    keep_start(tmp_path, 6, HALF, CPU, "")
    assert json.loads(file.read_text())[-1]["runtime"]["precision"] == "bf16-mixed"
