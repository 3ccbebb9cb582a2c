"""docs/methods.md from the registry: what each method does, its terms, its cost, when to use it, how it is checked."""

from pathlib import Path
from typing import Any

from da_toolkit.methods import Adversarial, Method
from da_toolkit.registry import METHODS, REGULARIZERS, Entry

PAGE = Path(__file__).parent.parent / "docs" / "methods.md"
TESTS = {
    "test_adversarial.py": ("adaptseg", "adaptseg_multi", "adaptseg_ls", "feature_adversarial"),
    "test_class_adversarial.py": ("fada",),
    "test_entropy.py": ("minent", "maxsquare", "advent", "advent_multi"),
    "test_feature_distance.py": ("daformer", "mic"),
    "test_input_space.py": ("fda", "lab"),
    "test_mean_teacher.py": ("dacs", "daformer", "mic"),
    "test_mixing.py": ("dacs", "daformer", "mic"),
    "test_prototypes.py": ("proda",),
    "test_pseudo_labels.py": ("cbst", "crst", "crst_soft", "iast"),
    "test_supervised.py": ("source_only", "oracle"),
    "test_target_bn.py": ("target_bn",),
}
"""Which file of tests/methods/ checks a method against its paper's formulas."""


def parts(method: Method) -> str:
    """The settings classes that the method is put together from."""
    players = method.discriminators if isinstance(method, Adversarial) else ()
    names = [type(part).__name__ for part in (*players, *method.regularizers)]
    base = "source cross-entropy" if method.reads.source else "target cross-entropy"
    return ", ".join([base, *(f"`{name}`" for name in names)])


def page(speed: dict[str, Any]) -> str:
    """Markdown.

    Args:
        speed: contents of results/speed.json.
    """
    base = speed["step_ms"]["source_only"]
    lines = [
        "# Methods",
        "",
        "Written by `python benchmarks/tables.py` from the registry; do not edit it by hand. A method is a sum of",
        "terms. Those under *Terms that join any method* go into `regularizers=(...)` of every method.",
        "",
        "Cost: milliseconds of a training step relative to source-only, median, with the demo network on",
        f"{speed['device']} (`python benchmarks/speed.py`, commit {str(speed['commit'])[:10]}); a round's pass",
        "over the target is not in it.",
        "Every method also passes the shared checks in `tests/methods/test_all_methods.py`.",
    ]
    families: dict[str, list[Entry]] = {}
    for entry in METHODS:
        families.setdefault(entry.family, []).append(entry)
    for family, entries in families.items():
        lines += ["", f"## {family}"]
        for entry in entries:
            cost = speed["step_ms"].get(entry.name)
            lines += [
                "",
                f"### {entry.name}",
                f"{entry.summary} {entry.paper}".strip(),
                "",
                f"- terms: {parts(entry.build())}",
                f"- cost: {cost / base:.2f}" if cost else "- cost: not measured",
                f"- when to use it: {entry.use}",
                "- checked in: " + ", ".join(f"`tests/methods/{f}`" for f, n in TESTS.items() if entry.name in n),
            ]
    lines += ["", "## Terms that join any method", "", "| name | what it does | paper |", "| --- | --- | --- |"]
    lines += [f"| `{entry.build.__name__}` | {entry.summary} | {entry.paper} |" for entry in REGULARIZERS]
    return "\n".join(lines) + "\n"
