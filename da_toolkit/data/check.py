"""Looks through a whole split and reports what a training run would stumble over."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from da_toolkit.data.domain import DomainData
from da_toolkit.data.labels import IGNORE
from da_toolkit.errors import UserError
from da_toolkit.terminal import track


@dataclass
class Report:
    """What was found in one split."""

    name: str
    images: int
    labelled: bool
    unlabelled: str = ""
    """Which images have no label, and what is there instead; nothing if all have one."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(height, width) -> images."""
    pixels: dict[str, int] = field(default_factory=dict)
    """Class name, or "ignore" -> labelled pixels."""
    problems: list[str] = field(default_factory=list)
    """One error text a damaged, mismatched or wrongly encoded pair."""

    def lines(self) -> list[str]:
        """The report for a terminal."""
        sizes = ", ".join(f"{w}x{h}: {count}" for (h, w), count in self.sizes.most_common(5))
        text = [f"{self.name}: {self.images} images ({'labelled' if self.labelled else 'no labels'}); sizes {sizes}"]
        total = sum(self.pixels.values())
        for name, count in self.pixels.items():
            share = 100 * count / total if total else 0.0
            text.append(f"  {name:<14} {share:7.3f} %{'   (never occurs)' if count == 0 else ''}")
        text += [f"  problem: {problem}" for problem in self.problems]
        return [*text, f"  {len(self.problems)} problems"]


def check_split(data: DomainData, with_labels: bool = True) -> Report:
    """Read every image and, if `with_labels` and there are any, every label; problems are collected, not raised."""
    labelled = data.has_labels and with_labels
    report = Report(f"{data.name} {data.split}", len(data), data.has_labels, data.unlabelled)
    counts = np.zeros(256, dtype=np.int64)

    def look(index: int) -> tuple[tuple[int, int] | None, np.ndarray | None, list[str]]:
        shape, histogram, problems = None, None, []
        try:
            height, width = data.image(index).shape[:2]
            shape = (height, width)
        except UserError as error:
            problems.append(str(error))
        try:
            if labelled:
                histogram = np.bincount(data.label(index).ravel(), minlength=256)
        except UserError as error:
            problems.append(str(error))
        return shape, histogram, problems

    with ThreadPoolExecutor() as pool:
        seen = pool.map(look, range(len(data)))
        for shape, histogram, problems in track(seen, f"checking {report.name}", total=len(data)):
            if shape is not None:
                report.sizes[shape] += 1
            if histogram is not None:
                counts += histogram
            report.problems += problems
    if labelled:
        report.pixels = {name: int(counts[number]) for number, name in enumerate(data.label_space.classes)}
        report.pixels["ignore"] = int(counts[IGNORE])
    return report
