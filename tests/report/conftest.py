"""A run's folder with made-up numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from da_toolkit.report.bootstrap import resampled_miou
from da_toolkit.report.runs import Run, read_run

CLASSES = ("road", "car", "pole")
MakeRun = Callable[..., Run]


def write(folder: Path, **values: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(values))
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """make_run(recipe, seed, ...) -> Run; scores follow from `counts` [I,3,3] if they are given.

    Pictures are grey: images 90, labels 160, predictions `prediction`; each number is one shade lighter.
    """

    def make(
        recipe: str,
        seed: int = 0,
        method: str = "Adversarial",
        miou: float | None = 50.0,
        counts: np.ndarray | None = None,
        keys: list[str] | None = None,
        evaluations: list[tuple[int, float, dict[str, float]]] | None = None,
        pictures: int = 0,
        prediction: int = 30,
        protocol: str = "toy3",
        **more: Any,
    ) -> Run:
        folder = tmp_path / "runs" / recipe.replace("/", "_") / str(seed)
        if counts is not None:
            folder.mkdir(parents=True)
            keys = keys or [f"image_{number}" for number in range(len(counts))]
            np.savez_compressed(folder / "confusions.npz", counts=counts, keys=keys)
            miou = float(resampled_miou(counts, np.ones((1, len(counts))), range(3))[0])
        told: dict[str, Any] = {"steps": 100, "seconds": 60.0, "peak_memory_mb": 1024.0, "reported": None} | more
        if evaluations is not None:
            told["evaluations"] = [
                {"step": step, "scores": {protocol: {"miou": value, "per_class": {}}}, "validators": validators}
                for step, value, validators in evaluations
            ]
        scores = {protocol: {"miou": miou, "per_class": dict.fromkeys(CLASSES, miou)}}
        write(folder, recipe=recipe, method=method, seed=seed, scores=scores, **told)
        for number in range(pictures):
            (folder / "predictions").mkdir(exist_ok=True)
            shades = {"image.jpg": 90, "label.png": 160, "prediction.png": prediction}
            for name, shade in shades.items():
                picture = np.full((20, 40, 3), shade + number, dtype=np.uint8)
                Image.fromarray(picture).save(folder / "predictions" / f"{number}_{name}")
        return read_run(folder)

    return make


@pytest.fixture
def random_counts() -> Callable[[int], np.ndarray]:
    """seed -> int64 [12,3,3] in which a class is missing from some images."""

    def make(seed: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        counts = generator.integers(0, 50, (12, 3, 3))
        counts[generator.random(12) < 0.5, 2] = 0
        counts[0] = 0
        return counts

    return make
