"""Run folders with made-up contents, and a server over them."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from da_toolkit.viewing.server import address_of, listening, make_server
from da_toolkit.viewing.watch import Watch

CLASSES = ["road", "car", "pole"]
COLORS = [[128, 64, 128], [0, 0, 142], [153, 153, 153]]
RECIPE = {
    "class": "da_toolkit.recipe.Recipe",
    "target": {"labels": {"class": "da_toolkit.data.LabelSpace", "classes": CLASSES, "palette": COLORS}},
    "method": {"class": "da_toolkit.methods.Adversarial", "regularizers": [{"class": "RPT", "weight": 0.5}]},
    "schedule": {"stages": [{"name": "warm-up", "steps": 60}, {"name": "round 1", "steps": 40}]},
    "optimizer": {"lr": 0.001},
}
REPORTS = [
    {"step": 0, "time": 1e9, "stage": 1},
    {"step": 20, "time": 1e9 + 5, "seg": 2.0, "images_per_second": 3.0},
    {"step": 40, "time": 1e9 + 9, "seg": 1.0, "images_per_second": 4.0},
    {"step": 40, "time": 1e9 + 9, "miou_toy": 30.0, "validator_entropy": 0.5},
    {"step": 60, "time": 1e9 + 12, "stage": 2, "rpt_regions": 7.0},
    {"step": 60, "time": 1e9 + 12, "miou_toy": 40.0, "validator_entropy": 0.7},
    {"step": 60, "time": 1e9 + 12, "warning": "warning: since step 40, <b>it</b> collapses."},
]
MATRIX = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])


def picture(file: Path, color: list[int], size: tuple[int, int] = (40, 20)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, tuple(color)).save(file)


@pytest.fixture
def make_run(tmp_path):
    """make_run(name, ...) -> folder of a run in training; finished, if it has a result; recipe and reports changed."""

    def make(name, result=None, recipe=None, reports=REPORTS, pictures=1, method="Adversarial", decided=1):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "recipe.json").write_text(json.dumps(RECIPE | (recipe or {})))
        (folder / "environment.json").write_text(json.dumps([{"runtime": {"seed": 0}, "device": "cpu"}]))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(report) + "\n" for report in reports))
        counts = np.stack([MATRIX, MATRIX])
        np.savez_compressed(folder / "confusions.npz", counts=counts, keys=["a", "b"])
        for number in range(pictures):
            picture(folder / "predictions" / f"{number}_image.jpg", [90 + number] * 3)
            picture(folder / "predictions" / f"{number}_label.png", COLORS[0])
            picture(folder / "predictions" / f"{number}_prediction.png", COLORS[decided])
            picture(folder / "pictures" / "round_1_rpt.png", [1, 2, 3])
            picture(folder / "pictures" / "step_000040.png", [4, 5, 6])
            picture(folder / "pictures" / "step_000060.png", [7, 8, 9])
        if result is not None:
            scores = {"toy": {"miou": 50.0, "per_class": {"road": 70.0, "car": 30.0, "pole": None}}}
            told = {"recipe": name, "seed": 0, "method": method, "steps": 100, "scores": scores} | result
            (folder / "result.json").write_text(json.dumps(told))
        return folder

    return make


@contextmanager
def serving(*places: Path, change=lambda app: None) -> Iterator[str]:
    """The address of a server in a thread."""
    with listening(None) as opened:
        server = make_server(Watch(places))
        change(server.config.app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield address_of(opened)
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture
def serve():
    """serve(*places, change=...): the context manager above; `change` gets the application first."""
    return serving


@pytest.fixture
def served(tmp_path):
    """Function: (status, headers, content) of an address below the page of all runs."""
    (tmp_path / "runs").mkdir(exist_ok=True)
    with serving(tmp_path / "runs") as address:

        def get(path, headers=None):
            try:
                with urllib.request.urlopen(urllib.request.Request(address + path, headers=headers or {})) as answer:
                    return answer.status, answer.headers, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.headers, error.read()

        yield get
