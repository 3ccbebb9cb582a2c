"""docs/methods/NAME.md from the registry: formula, settings, when to use a method, when it fails."""

from pathlib import Path
from typing import Any

from method_formulas import told
from methods_page import CHECKS, facts
from settings_table import rows

from da_toolkit.recipe import recipe_files
from da_toolkit.registry import METHODS, Entry

FOLDER = Path(__file__).parent.parent / "docs" / "methods"


def page(entry: Entry, speed: dict[str, Any]) -> str:
    """Markdown of one method.

    Args:
        speed: contents of results/speed.json.
    """
    recipes = sorted(name for name in recipe_files() if name.rpartition("_")[0] == entry.name)
    check, test = CHECKS[entry.name]
    notation, every = told()
    formula, fails = every[entry.name]
    lines = [
        f"# {entry.name}",
        "",
        "<!-- Written by benchmarks/tables.py from the registry and benchmarks/method_formulas.md. -->",
        "",
        f"{entry.summary} {entry.paper}".strip(),
        "",
        "## Formula",
        "",
        formula,
        "",
        notation,
        "",
        "## Settings",
        "",
        *_settings(entry),
        "",
        "## When to use it",
        "",
        f"When {entry.use}" if not entry.use.startswith(("as ", "a ", "the ", "always")) else _sentence(entry.use),
        "",
        "## When it fails",
        "",
        fails,
        "",
        "## Facts",
        "",
        *facts(entry, speed),
        f"- recipes: {', '.join(f'`{name}`' for name in recipes) or 'none of its own'}",
        f"- checked: {check} (`tests/methods/{test}`)",
        "",
        "All methods: [overview](../methods.md). What published code does beyond its paper: [parity](../parity.md).",
    ]
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _settings(entry: Entry) -> list[str]:
    """The table of a method's own settings, with those of its parts."""
    told = [f"| `{option}` | {value} | {what.replace('|', '&#124;')} |" for option, value, what in rows(entry.build())]
    return [
        f"As `{entry.name}` has them; a recipe may have others, and `da-toolkit run RECIPE --help` shows those. On the",
        f"command line each is an option: `--method.{next(rows(entry.build()))[0]}`.",
        "",
        "| option | value | what it is |",
        "| --- | --- | --- |",
        *told,
    ]


def pages(speed: dict[str, Any]) -> dict[Path, str]:
    """File -> text of every method's page."""
    return {FOLDER / f"{entry.name}.md": page(entry, speed) for entry in METHODS}
