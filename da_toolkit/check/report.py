"""What `prepare check` found in a split: problems, warnings and facts, for a terminal or a machine."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["problem", "warning", "fact"]
SHOWN = 20
"""Findings of a level that a terminal shows of a split; --json has all."""


@dataclass(frozen=True)
class Finding:
    """One sentence or two. A problem makes a run wrong, a warning may, a fact is good to know."""

    level: Level
    kind: str
    """A word for machines, such as "train_ids"."""
    text: str


@dataclass
class Report:
    """What was found in one split, or between splits."""

    name: str
    images: int = 0
    labelled: bool = False
    unlabelled: str = ""
    """Which images have no label, and what is there instead; nothing if all have one."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(height, width) -> images."""
    pixels: dict[str, int] = field(default_factory=dict)
    """Class name, or "ignore" -> pixels; empty where no label was opened."""
    findings: list[Finding] = field(default_factory=list)

    def add(self, level: Level, kind: str, text: str) -> None:
        self.findings.append(Finding(level, kind, text))

    def of(self, level: Level) -> list[str]:
        """The texts of a level."""
        return [finding.text for finding in self.findings if finding.level == level]

    @property
    def problems(self) -> list[str]:
        return self.of("problem")

    @property
    def warnings(self) -> list[str]:
        return self.of("warning")

    @property
    def facts(self) -> list[str]:
        return self.of("fact")

    def lines(self) -> list[str]:
        """The report for a terminal."""
        text = [self.name]
        if self.images:
            sizes = ", ".join(f"{w}x{h}: {count}" for (h, w), count in self.sizes.most_common(5))
            opened = "labelled" if self.pixels else "labels not opened"
            labelled = opened if self.labelled else "labels not opened" if self.unlabelled else "no labels"
            text = [f"{self.name}: {self.images} images ({labelled}); sizes {sizes}"]
        total = sum(self.pixels.values())
        for name, count in self.pixels.items():
            share = 100 * count / total if total else 0.0
            text.append(f"  {name:<14} {share:7.3f} %{'   (never occurs)' if count == 0 else ''}")
        for level in ("problem", "warning", "fact"):
            found = self.of(level)
            text += [f"  {level}: {sentence}" for sentence in found[:SHOWN]]
            if len(found) > SHOWN:
                text.append(f"  {level}: ... and {len(found) - SHOWN} more; --json lists all")
        return [*text, f"  {_number(len(self.problems), 'problem')}, {_number(len(self.warnings), 'warning')}"]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "images": self.images,
            "labelled": self.labelled,
            "unlabelled": self.unlabelled,
            "sizes": [{"width": w, "height": h, "images": count} for (h, w), count in self.sizes.most_common()],
            "pixels": self.pixels,
            "findings": [vars(finding) for finding in self.findings],
        }


def few(names: list[str], shown: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
