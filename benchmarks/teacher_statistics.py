"""How good a network's labels of target images are, by the statistics that its batch norms use.

    python -m da_toolkit.run source_only_gta --demo
    python benchmarks/teacher_statistics.py runs/source_only_gta_demo/0 [--batch 2 --threshold 0.968]

The choice of a mean teacher's `statistics`, and of the same for frozen copies, is made by this. It reads target
labels: they judge, and nothing is trained.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from da_toolkit.api import load_run
from da_toolkit.data.loader import Loading
from da_toolkit.data.samples import Samples
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import exits_cleanly
from da_toolkit.evaluation.metrics import image_confusions, iou, pixel_accuracy
from da_toolkit.files import write_json
from da_toolkit.models.teacher import Statistics, Teacher
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit

RESULTS = Path(__file__).parent / "results" / "teacher_statistics.json"
STATISTICS: tuple[Statistics, ...] = ("running", "batch")


def quality(folder: Path, data_root: Path | None, statistics: Statistics, batch: int, threshold: float) -> list[float]:
    """Percent: mIoU of the labels, the share of pixels surer than the threshold, and how many of those are right."""
    run = load_run(folder)
    recipe, classes = run.recipe, len(run.label_space)
    data = recipe.target.build("train", data_root)
    samples = Samples(data, recipe.target.size, Augmentation(), True, 0)
    teacher = Teacher(run.network, statistics)
    every, surest = (torch.zeros(classes, classes, dtype=torch.int64) for _ in range(2))
    order = np.random.default_rng(0).permutation(len(data)).tolist()
    places = [[(0, index) for index in order[start : start + batch]] for start in range(0, len(order), batch)]
    shares = []
    for images in Loading(samples, places, 0):
        moved = images.to(run.device)
        assert moved.label is not None
        highest, decided = teacher.probabilities(moved.image).max(1)
        sure = highest > threshold
        shares.append(sure.float().mean().item())
        every += image_confusions(decided, moved.label, classes).sum(0).cpu()
        surest += image_confusions(decided, moved.label.where(sure, 255), classes).sum(0).cpu()
    return [100 * float(np.nanmean(iou(every))), 100 * float(np.mean(shares)), 100 * pixel_accuracy(surest)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--batch", type=int, default=2, help="images a batch (default 2)")
    parser.add_argument("--threshold", type=float, default=0.968)
    options = parser.parse_args()
    run = load_run(options.run)
    rows = {}
    for statistics in STATISTICS:
        found = quality(options.run, options.data_root, statistics, options.batch, options.threshold)
        rows[statistics] = dict(zip(("miou", "sure_share", "right_of_sure"), found, strict=True))
    settings = {"recipe": run.result["recipe"], "steps": run.result["steps"], "seed": run.result["seed"]}
    settings |= {"batch": options.batch, "threshold": options.threshold}
    write_json(RESULTS, {"rows": rows, **settings, **environment(run.device)})
    print(table(json.loads(RESULTS.read_text())))


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "| statistics | mIoU of the labels | share of pixels surer | of those right |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, row in result["rows"].items():
        lines.append(f"| `{name}` | {row['miou']:.1f} | {row['sure_share']:.1f} % | {row['right_of_sure']:.1f} % |")
    told = (
        f"{result['recipe']}, {result['steps']} steps, seed {result['seed']}; batches of {result['batch']}, surer than "
        f"{result['threshold']:g}. {result['device']}, commit {short_commit(result['commit'])}."
    )
    return "\n".join([told, "", *lines])


if __name__ == "__main__":
    exits_cleanly(main)
