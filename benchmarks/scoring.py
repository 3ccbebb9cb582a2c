"""How long scoring an image takes from its logits on: deciding the classes and counting pairs, against numpy.

    python benchmarks/scoring.py

19 classes at 2048x1024, one thread, all ways in turns in one run. Times are the process's own CPU time, which other
processes on a busy machine lengthen less than the clock's. All ways give the same counts, or it ends with an error.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from da_toolkit.errors import UserError, exits_cleanly
from da_toolkit.evaluation.deciding import decided
from da_toolkit.evaluation.metrics import image_confusions
from da_toolkit.files import write_json
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit

RESULTS = Path(__file__).parent / "results" / "scoring.json"
CLASSES, SIZE, ROUNDS = 19, (1024, 2048), 9


def ways(scores: Tensor, label: Tensor) -> dict[str, tuple[Callable[[], Any], Callable[[Any], np.ndarray]]]:
    """By name: how classes are decided of scores [C,H,W], and how pairs are counted with the label uint8 [H,W]."""
    logits, truth = scores.numpy(), label.numpy()

    def by_numpy(decided: np.ndarray) -> np.ndarray:
        known = truth < CLASSES
        pairs = CLASSES * truth[known].astype(np.int64) + decided[known]
        return np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)

    def by_scatter(decided: Tensor) -> np.ndarray:
        wide = label.long()
        bins = torch.where(wide < CLASSES, wide * CLASSES + decided, CLASSES**2).flatten()
        counts = torch.zeros(CLASSES**2 + 1, dtype=torch.int64).scatter_add_(0, bins, torch.ones_like(bins))
        return counts[:-1].view(CLASSES, CLASSES).numpy()

    return {
        "the toolkit": (
            lambda: decided(scores[None])[0],
            lambda classes: image_confusions(classes[None], label[None], CLASSES)[0].numpy(),
        ),
        "torch: max, bincount": (
            lambda: scores.max(0).indices,
            lambda classes: image_confusions(classes[None], label[None], CLASSES)[0].numpy(),
        ),
        "torch: argmax, scatter_add": (lambda: scores.argmax(0), by_scatter),
        "numpy: argmax, bincount": (lambda: logits.argmax(0), by_numpy),
    }


def measured(rounds: int = ROUNDS, size: tuple[int, int] = SIZE) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each way's two parts, in every round. Raises `UserError` where two ways count differently."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(CLASSES, *size, generator=generator)
    label = torch.randint(0, CLASSES + 1, size, generator=generator, dtype=torch.uint8)
    label[label == CLASSES] = 255
    found = ways(scores, label)
    times: dict[str, dict[str, list[float]]] = {name: {"decide": [], "count": []} for name in found}
    for number in range(rounds + 1):
        counts = {}
        for name, (decide, count) in found.items():
            begin = time.process_time()
            classes = decide()
            between = time.process_time()
            counts[name] = count(classes)
            if number:  # the first round warms up
                times[name]["decide"].append(1000 * (between - begin))
                times[name]["count"].append(1000 * (time.process_time() - between))
        if any((counts[name] != counts["the toolkit"]).any() for name in counts):
            raise UserError("benchmarks/scoring.py: the ways count differently, so their times mean nothing.")
    return times


def quartiles(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return statistics.quantiles(values, n=4, method="inclusive")


def main() -> None:
    torch.set_num_threads(1)
    times = measured()
    result = {
        "classes": CLASSES,
        "size": list(SIZE),
        "rounds": ROUNDS,
        "ms": {name: {part: quartiles(values) for part, values in parts.items()} for name, parts in times.items()},
    }
    write_json(RESULTS, result | environment(torch.device("cpu")))
    print(table(result | environment(torch.device("cpu"))))


def table(result: dict[str, Any]) -> str:
    """Markdown: medians with quartiles, and each way's ratio to numpy."""
    base = sum(part[1] for part in result["ms"]["numpy: argmax, bincount"].values())
    lines = ["| way | decide, ms | count, ms | together | ratio to numpy |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, parts in result["ms"].items():
        cells = [f"{median:.1f} ({low:.1f} – {high:.1f})" for low, median, high in parts.values()]
        together = sum(part[1] for part in parts.values())
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {together:.1f} | {together / base:.2f} |")
    height, width = result["size"]
    rounds = f"medians and quartiles of {result['rounds']} rounds, CPU time of one thread"
    made = f"{result['device']}, torch {result['versions']['torch']}, commit {short_commit(result['commit'])}"
    told = f"{result['classes']} classes at {width}x{height}, {rounds}. {made}."
    return "\n".join([told, "", *lines])


if __name__ == "__main__":
    exits_cleanly(main)
