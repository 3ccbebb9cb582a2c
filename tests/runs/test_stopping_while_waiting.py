"""A signal is obeyed within seconds wherever a run waits or computes for long, and nothing is lost by it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLACES = ["a worker", "the survey", "clustering", "the target pass", "AdaBN's last evaluation"]
"""Of `stops.py`, which knows more."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stops")
    command = [sys.executable, str(Path(__file__).parent / "stops.py"), str(folder), *PLACES]
    root = str(Path(__file__).parents[2])
    subprocess.run(command, check=True, timeout=900, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root})
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_hangs_stops_and_is_completed_to_the_bits_of_a_whole_one(place, found):
    run = found[place]
    assert run["code"] == 75 and "error: Stopped by SIG" in run["said"] and "Traceback" not in run["said"]
    assert run["seconds"] < 15 and not run["left"]  # it is 3 on a machine that does nothing else
    assert run["resumed"] == 0 and run["differs"] == []
