"""Writes the tables of pages, docs/methods and pictures from results/*.json: no number is typed by hand.

    python benchmarks/tables.py

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`, where results/NAME.json holds its numbers.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ablation
import accuracy
import advent_peer
import backbones
import chaos
import compare_speed
import cpu_convolutions
import curves
import dacs_peer
import export_equality
import growth
import hours
import hrda
import labels_at
import loader
import logic_context
import method_pages
import methods_page
import official_layouts
import predict_speed
import rpt_clusters
import rpt_cost
import scoring
import sizes
import speed
import startup
import step_time
import superpixels
import target_pass
import teacher_statistics
import two_ranks

from da_toolkit.errors import UserError, exits_cleanly

HERE = Path(__file__).parent
TABLES: dict[str, Callable[[Any], str]] = {
    "accuracy_camvid": lambda results: accuracy.table("camvid", results, "camvid10"),
    "accuracy_carla": lambda results: accuracy.tables("carla", results, ("streets11", "streets8", "streets7")),
    "accuracy_carla_cpu": lambda results: accuracy.tables("carla", results, ("streets11", "streets7")),
    "accuracy_streets": lambda results: accuracy.table("streets", results, "cityscapes19"),
    "ablation": ablation.table,
    "rpt_clusters": rpt_clusters.table,
    "logic_context": logic_context.table,
    "rpt_cost": rpt_cost.table,
    "official_layouts": official_layouts.table,
    "sizes": sizes.table,
    "speed": speed.table,
    "loader": loader.table,
    "chaos": chaos.table,
    "two_ranks": two_ranks.table,
    "compare_speed": compare_speed.table,
    "step_time": step_time.table,
    "labels_at": labels_at.table,
    "advent_peer": advent_peer.table,
    "cpu_convolutions": cpu_convolutions.table,
    "dacs_peer": dacs_peer.table,
    "superpixels": superpixels.table,
    "target_pass": target_pass.table,
    "growth": growth.table,
    "scoring": scoring.table,
    "startup": startup.table,
    "teacher_statistics": teacher_statistics.table,
    "backbones": backbones.table,
    "predict_speed": predict_speed.table,
    "export_equality": export_equality.table,
    "hrda": hrda.table,
    "hours": hours.table,
}
RESULTS = {"hours": "sizes"}
"""Tables of results that have another name."""
CURVES = {"accuracy_carla": "streets11", "accuracy_camvid": "camvid10", "accuracy_streets": "cityscapes19"}
"""Matrices whose curves are drawn, in `results/NAME_curves.svg`, and the protocol."""
PAGES = (HERE / "README.md", HERE.parent / "docs" / "reproduce.md")
"""What holds tables between markers."""


def filled(text: str) -> str:
    """The page with every table whose results exist. Raises `UserError` for a marker without a table."""

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name not in TABLES:
            raise UserError(f"The marker {name!r} names no table; known: {', '.join(TABLES)}.")
        file = HERE / "results" / f"{RESULTS.get(name, name)}.json"
        table = TABLES[name](json.loads(file.read_text())).strip() if file.exists() else "No results yet."
        return f"<!-- {name} -->\n{table}\n<!-- /{name} -->"

    return re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->", fill, text, flags=re.DOTALL)


def pictures() -> dict[Path, str]:
    """The drawings of results, by file."""
    folder = HERE / "results"
    found = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("ablation", *CURVES)}
    drawn = {f"{name}_curves": curves.svg(found[name], protocol) for name, protocol in CURVES.items()}
    drawn["label_precision"] = ablation.picture(found["ablation"])
    return {folder / f"{name}.svg": picture for name, picture in drawn.items() if picture}


def main() -> None:
    for page in PAGES:
        page.write_text(filled(page.read_text()))
    drawn = pictures()
    for file, picture in drawn.items():
        file.write_text(picture)
    speed = json.loads((HERE / "results" / "speed.json").read_text())
    methods_page.PAGE.write_text(methods_page.page(speed))
    method_pages.FOLDER.mkdir(exist_ok=True)
    for file, text in method_pages.pages(speed).items():
        file.write_text(text)
    print(f"written: {', '.join(map(str, (*PAGES, *drawn, methods_page.PAGE, method_pages.FOLDER)))}")


if __name__ == "__main__":
    exits_cleanly(main)
