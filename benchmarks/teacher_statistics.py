"""How good a network's labels of target images are, by the statistics that its batch norms use.

    python -m da_toolkit.run source_only_gta --demo
    python benchmarks/teacher_statistics.py runs/source_only_gta_demo/0 [--images 100 --batch 2 --threshold 0.968]

First all labels, as a mean teacher gives them; then those that each way of labelling in rounds chooses from a frozen
copy: CBST's and IAST's thresholds, ProDA's prototypes, RPT's regions. What rounds make of a pass (thresholds,
prototypes, region tables) is of batches of 4, the labels of a step's. It reads target labels: they judge, and nothing
is trained.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from da_toolkit.api import load_run
from da_toolkit.data.batch import Batch
from da_toolkit.data.labels import IGNORE
from da_toolkit.data.loader import Loading
from da_toolkit.data.samples import Samples
from da_toolkit.data.superpixels import SuperpixelCache, Superpixels
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import exits_cleanly
from da_toolkit.evaluation.metrics import image_confusions, iou, pixel_accuracy
from da_toolkit.files import write_json
from da_toolkit.methods.prototypes import class_sums, decided, prototype_weights
from da_toolkit.methods.thresholds import ClassBalanced, InstanceAdaptive, Thresholds
from da_toolkit.models.teacher import Statistics, Teacher
from da_toolkit.regularizers.rpt.patch import Patch
from da_toolkit.regularizers.rpt.regions import RegionRows, RegionTable
from da_toolkit.runs.provenance import environment
from da_toolkit.runs.trained import TrainedRun
from da_toolkit.shareable import short_commit
from da_toolkit.terms.step import View

RESULTS = Path(__file__).parent / "results" / "teacher_statistics.json"
STATISTICS: tuple[Statistics, ...] = ("running", "batch")
TOGETHER = 4
"""Images a batch of the pass with which a round begins, as in training."""
Labels = Callable[[View], Tensor]
"""Labels int64 [B,H,W], 255 = none, of a batch."""


@dataclass(frozen=True)
class Source:
    """A run's target images, and the network that labels them."""

    run: TrainedRun
    samples: Samples
    regions: list[int]
    """Regions of each image that is looked at, the first of the split."""

    @property
    def classes(self) -> int:
        return len(self.run.label_space)

    def views(self, teacher: Teacher, batch: int) -> Iterator[tuple[View, Batch]]:
        """All of them once, in an order of seed 0; labels are in the batch alone."""
        order = np.random.default_rng(0).permutation(len(self.regions)).tolist()
        places = [[(0, index) for index in order[start : start + batch]] for start in range(0, len(order), batch)]
        for images in Loading(self.samples, places, 0):
            moved = images.to(self.run.device)
            yield View(teacher.network, moved), moved


def source_of(folder: Path, data_root: Path | None, images: int) -> Source:
    """Raises `UserError` where no finished run lies there or its data are not there."""
    run = load_run(folder)
    data = run.recipe.target.build("train", data_root)
    cache = SuperpixelCache(Superpixels(), run.recipe.target.size)
    counts, _ = cache.survey(data, indices=range(min(images, len(data))))
    return Source(run, Samples(data, run.recipe.target.size, Augmentation(), True, 0, cache), counts)


def all_pixels(source: Source, teacher: Teacher, threshold: float) -> Labels:
    """Every pixel has the likeliest class."""
    return lambda view: view.probabilities().argmax(1)


def surest_pixels(source: Source, teacher: Teacher, threshold: float) -> Labels:
    """Those above the mean teacher's threshold."""

    def labels(view: View) -> Tensor:
        highest, label = view.probabilities().max(1)
        return label.where(highest > threshold, IGNORE)

    return labels


def by_thresholds(settings: Thresholds) -> Callable[[Source, Teacher, float], Labels]:
    """Those that a round of self-training takes."""

    def prepared(source: Source, teacher: Teacher, threshold: float) -> Labels:
        found = settings.start(source.classes, 1, len(source.regions), source.run.device)
        for view, batch in source.views(teacher, TOGETHER):
            found.see(batch.index, view.probabilities())
        thresholds, _ = found.result()
        return lambda view: settings.labels(view.probabilities(), thresholds[view.batch.index % len(thresholds)])

    return prepared


def by_prototypes(source: Source, teacher: Teacher, threshold: float) -> Labels:
    """ProDA's of a round's first step: probabilities times nearness to prototypes."""
    sums = counts = squares = torch.zeros((), dtype=torch.float64)
    for view, _ in source.views(teacher, TOGETHER):
        features = view.features.double()
        found, number = class_sums(features, decided(view), source.classes)
        sums, counts, squares = sums + found, counts + number, squares + features.square().sum()
    centres = sums / counts.clamp(min=1)[:, None]
    scale = ((squares - (counts * centres.square().sum(1)).sum()) / counts.sum()).clamp(min=1e-12).sqrt()

    def labels(view: View) -> Tensor:
        near = prototype_weights(view.features.float(), centres.float(), counts > 0, scale.float())
        near = view.output.enlarged(near, view.batch.image.shape[2:])
        return (view.probabilities() * near).argmax(1)

    return labels


def by_regions(source: Source, teacher: Teacher, threshold: float) -> Labels:
    """RPT's patch constraint: the dominant class of the superpixels that are selected."""
    rows = RegionRows(source.regions, source.run.device)
    table = RegionTable(rows, source.classes)
    for view, batch in source.views(teacher, TOGETHER):
        table.add(batch.index, view.regions, view.probabilities())
    frozen = Patch().labels(table)
    return lambda view: frozen[rows.of(view.batch.index, view.regions)].long()


LABELLERS: dict[str, Callable[[Source, Teacher, float], Labels]] = {
    "all pixels": all_pixels,
    "surest pixels": surest_pixels,
    "CBST, CRST": by_thresholds(ClassBalanced()),
    "IAST": by_thresholds(InstanceAdaptive()),
    "ProDA": by_prototypes,
    "RPT": by_regions,
}


@torch.inference_mode()
def quality(source: Source, statistics: Statistics, batch: int, threshold: float) -> dict[str, dict[str, float]]:
    """Percent, by way of labelling: mIoU of the labels over the pixels that have one, their share of all pixels, and
    how many of them are right."""
    teacher = Teacher(source.run.network, statistics)
    ways = {name: prepare(source, teacher, threshold) for name, prepare in LABELLERS.items()}
    confusions = {name: torch.zeros(source.classes, source.classes, dtype=torch.int64) for name in ways}
    labelled, pixels = dict.fromkeys(ways, 0), 0
    for view, images in source.views(teacher, batch):
        assert images.label is not None
        pixels += images.label.numel()
        for name, label_of in ways.items():
            label = label_of(view)
            chosen = label != IGNORE
            labelled[name] += int(chosen.sum())
            truth = images.label.where(chosen, IGNORE)
            confusions[name] += image_confusions(label.where(chosen, 0), truth, source.classes).sum(0).cpu()
    return {
        name: {
            "miou": 100 * float(np.nanmean(iou(confusion))),
            "share": 100 * labelled[name] / pixels,
            "right": 100 * pixel_accuracy(confusion),
        }
        for name, confusion in confusions.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--images", type=int, default=100, help="the first so many are labelled (default 100)")
    parser.add_argument("--batch", type=int, default=2, help="images a batch (default 2)")
    parser.add_argument("--threshold", type=float, default=0.968)
    options = parser.parse_args()
    source = source_of(options.run, options.data_root, options.images)
    found = {name: quality(source, name, options.batch, options.threshold) for name in STATISTICS}
    rows = [
        {"labels": way, "statistics": statistics, **found[statistics][way]}
        for way in LABELLERS
        for statistics in STATISTICS
    ]
    result = source.run.result
    settings = {"recipe": result["recipe"], "steps": result["steps"], "seed": result["seed"]}
    settings |= {"images": len(source.regions), "batch": options.batch, "threshold": options.threshold}
    write_json(RESULTS, {"rows": rows, **settings, **environment(source.run.device)})
    print(table(json.loads(RESULTS.read_text())))


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "| labels | statistics | mIoU of the labels | share of pixels labelled | of those right |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        figures = f"{row['miou']:.1f} | {row['share']:.1f} % | {row['right']:.1f} %"
        lines.append(f"| {row['labels']} | `{row['statistics']}` | {figures} |")
    told = (
        f"{result['recipe']}, {result['steps']} steps, seed {result['seed']}; {result['images']} images in batches of "
        f"{result['batch']}; the surest are above {result['threshold']:g}. {result['device']}, commit "
        f"{short_commit(result['commit'])}."
    )
    return "\n".join([told, "", *lines])


if __name__ == "__main__":
    exits_cleanly(main)
