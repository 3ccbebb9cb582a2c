"""Reads method_formulas.md: the objective of every method in formulas, and when it fails."""

import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).with_suffix(".md")


class Told(NamedTuple):
    """What is told of a method, as markdown with LaTeX between $ and $$."""

    formula: str
    fails: str


def told() -> tuple[str, dict[str, Told]]:
    """The notation, and what is told of each method by name. Raises ValueError for a method without both parts."""
    sections = dict(
        re.findall(r"^# (\w+)\n(.*?)(?=^# |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    )
    notation = sections.pop("notation").strip()
    found = {}
    for name, text in sections.items():
        formula, heading, fails = text.partition("## When it fails\n")
        if not (formula.strip() and heading and fails.strip()):
            raise ValueError(f"{PAGE.name}: {name} needs a formula and `## When it fails`")
        found[name] = Told(formula.strip(), fails.strip())
    return notation, found
