"""Seconds that a comparison of 30 runs takes: 10 recipes of 3 seeds, 19 classes, 500 validation images.

    python benchmarks/compare_speed.py

The runs are made up, in the layout of real ones; the command is a process of its own, on one thread.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.errors import exits_cleanly
from da_toolkit.evaluation.protocols import PROTOCOLS, score
from da_toolkit.files import write_json
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit

RESULTS = Path(__file__).parent / "results" / "compare_speed.json"
RECIPES = ["source_only_gta", *(f"method_{number}_gta" for number in range(1, 9)), "oracle_gta"]
SEEDS, IMAGES, EVALUATIONS, STEPS = 3, 500, 10, 1000
VALIDATORS = ("entropy", "soft_neighbourhood_density", "teacher_agreement", "source_score")


def write_run(root: Path, recipe: str, seed: int, skill: float, images: int = IMAGES, size: int = 512) -> Path:
    """A made-up run in ROOT/RECIPE/SEED.

    Args:
        root: the runs folder.
        recipe: "source_only..." and "oracle..." get those methods.
        seed: of the run, and of its noise.
        skill: share of a class's pixels predicted right, 0..1.
        images: in the validation split.
        size: height of the pictures in pixels.
    """
    folder = root / recipe / str(seed)
    (folder / "predictions").mkdir(parents=True)
    noise, classes = np.random.default_rng([len(recipe), seed]), len(CITYSCAPES19)
    scene = np.random.default_rng(0)  # the validation images are those of every run
    labels = scene.integers(0, 8000, (images, classes))
    right = (labels * np.clip(skill + 0.1 * noise.standard_normal(labels.shape), 0, 1)).astype(np.int64)
    counts = np.zeros((images, classes, classes), dtype=np.int64)
    counts[:, np.arange(classes), np.arange(classes)] = right
    counts[:, np.arange(classes), (np.arange(classes) + 1) % classes] += labels - right
    keys = [f"frankfurt_{number:06d}" for number in range(images)]
    np.savez_compressed(folder / "confusions.npz", counts=counts, keys=keys)
    final = score(torch.from_numpy(counts.sum(0)), PROTOCOLS["cityscapes19"]).to_json()
    evaluations = [
        {
            "step": STEPS * number // EVALUATIONS,
            "scores": {"cityscapes19": {**final, "miou": final["miou"] * (1 - 0.5 * 0.6**number)}},
            "validators": {name: number / EVALUATIONS + 0.1 * noise.standard_normal() for name in VALIDATORS},
        }
        for number in range(1, EVALUATIONS)
    ]
    last = {"step": STEPS, "scores": {"cityscapes19": final}, "validators": {}}
    last["validators"] = {name: skill + 0.1 * noise.standard_normal() for name in VALIDATORS}
    methods = {"source": "SourceOnly", "oracle": "Oracle"}
    result = {
        "recipe": recipe,
        "method": methods.get(recipe.split("_")[0], "Adversarial"),
        "seed": seed,
        "steps": STEPS,
        "scores": last["scores"],
        "oracle_choice_on_target_labels": {"step": STEPS, **last["scores"]},
        "evaluations": [*evaluations, last],
        "seconds": 3600.0 + seed,
        "peak_memory_mb": 9000.0,
        "reported": None,
        "command": "made up by benchmarks/compare_speed.py",
    }
    write_json(folder / "result.json", result)
    write_json(folder / "recipe.json", {"made up": True})
    for number in range(4):
        blocks = np.sort(scene.integers(0, classes, (size // 16, size // 8)), axis=0).astype(np.uint8)
        wrong = noise.random(blocks.shape) > skill
        guesses = np.where(wrong, noise.integers(0, classes, blocks.shape), blocks)
        label, prediction = (table.repeat(16, 0).repeat(16, 1) for table in (blocks, guesses))
        photo = CITYSCAPES19.colorize(label) // 2 + scene.integers(0, 99, (*label.shape, 1), dtype=np.uint8)
        pictures = {"label.png": CITYSCAPES19.colorize(label), "prediction.png": CITYSCAPES19.colorize(prediction)}
        for name, picture in {"image.jpg": photo, **pictures}.items():
            Image.fromarray(picture).save(folder / "predictions" / f"{number}_{name}")
    return folder


def seconds(root: Path, out: Path, *options: str) -> float:
    """Wall time of one command, from start to exit."""
    words = [sys.executable, "-m", "da_toolkit.compare", str(root), "--output", str(out), *options]
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    begin = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=alone, cwd=Path(__file__).parent.parent)
    return time.perf_counter() - begin


def main(rounds: int = 3) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "runs", Path(folder) / "comparison"
        for place, recipe in enumerate(RECIPES):
            for seed in range(SEEDS):
                write_run(root, recipe, seed, 0.5 + 0.04 * place)
        times = {
            "all files": statistics.median(seconds(root, out) for _ in range(rounds)),
            "markdown alone": statistics.median(seconds(root, out, "--format", "markdown") for _ in range(rounds)),
        }
        page_mb = (out / "index.html").stat().st_size / 2**20
    result = {"runs": len(RECIPES) * SEEDS, "images": IMAGES, "classes": 19, "seconds": times, "page_mb": page_mb}
    write_json(RESULTS, result | {"load": os.getloadavg()[0]} | environment(torch.device("cpu")))
    print(table(json.loads(RESULTS.read_text())))


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| what `compare` writes | seconds |", "| --- | ---: |"]
    lines += [f"| {name} | {value:.1f} |" for name, value in result["seconds"].items()]
    told = (
        f"{result['runs']} runs, {result['images']} validation images, {result['classes']} classes; one thread, whole "
        f"process; the page has {result['page_mb']:.1f} MB. {result['device']}, 1-minute load of the machine "
        f"{result['load']:.1f} on {result['cpus']} CPUs, commit {short_commit(result['commit'])}."
    )
    return "\n".join([told, "", *lines])


if __name__ == "__main__":
    exits_cleanly(main)
