"""RPT's ablation on CARLA -> CamVid: which constraint helps, and how good its selected regions are.

    python benchmarks/ablation.py --data-root ../shared/data/carla2camvid

Rows are overrides of one recipe: the weights of some of RPT's constraints set to 0. The runs of one seed share their
warm-up, in which RPT is silent and all rows are the same; each goes on from its checkpoint. Resumable run by run.

Target labels are read after training only, to tell how pure regions and clusters are and how often a frozen label is
right. The one exception says so: in the oracle's row the selected regions carry their true label, which tells what
wrong labels cost. Thresholds are RPT's defaults, fixed before any run.
"""

import argparse
import dataclasses
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy import run_one
from records import keep
from rich.progress import track

from da_toolkit.data.labels import IGNORE
from da_toolkit.data.transforms import resized_label
from da_toolkit.errors import UserError, exits_cleanly
from da_toolkit.files import write_json
from da_toolkit.recipe import Recipe, find_recipe, load_recipe
from da_toolkit.regularizers.rpt.regions import RegionRows, RegionTable
from da_toolkit.regularizers.rpt.term import RPTTerm
from da_toolkit.runs.checkpoint import Checkpoints
from da_toolkit.runs.claim import differences
from da_toolkit.runs.health import Health
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.shareable import short_commit
from da_toolkit.training.state import load_state, state_of
from da_toolkit.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "ablation.json"
PARTS = ("patch", "cluster", "logic")
ROWS: dict[str, tuple[str, ...]] = {
    "none": (),
    "PC": ("patch",),
    "CC": ("cluster",),
    "SL": ("logic",),
    "PC + CC": ("patch", "cluster"),
    "all": PARTS,
    "PC, true labels (oracle)": ("patch",),
}
ORACLE = "PC, true labels (oracle)"
BASES = {"adv_rpt_camvid": tuple(ROWS), "rpt_camvid": ("none", "all"), "target_bn_rpt_camvid": ("none", "all")}


def with_parts(recipe: Recipe, parts: tuple[str, ...]) -> Recipe:
    """The recipe with the weight of all other constraints set to 0, and without validators."""
    (regularizer,) = recipe.method.regularizers
    off = {part: dataclasses.replace(getattr(regularizer, part), weight=0.0) for part in PARTS if part not in parts}
    method = dataclasses.replace(recipe.method, regularizers=(dataclasses.replace(regularizer, **off),))
    evaluation = dataclasses.replace(recipe.evaluation, validators=0)
    return dataclasses.replace(recipe, method=method, evaluation=evaluation)


def warm_up(session: Session, folder: Path) -> dict[str, Any]:
    """The trainer's state after the recipe's first stage: read from `folder`, or trained and kept there.

    Raises `UserError` for a folder of another recipe.
    """
    settings, checkpoints = folder / "recipe.json", Checkpoints(folder)
    if not checkpoints.files():
        trainer, _ = session.build()
        stage = trainer.recipe.schedule.stages[0]
        trainer.begin(stage)
        begin = time.perf_counter()
        for _ in track(range(stage.steps), f"warm-up of seed {session.runtime.seed}"):
            trainer.step()
        scoring = {"evaluations": [], "kept_best": None, "validators": None}
        log = {"seconds": time.perf_counter() - begin, "scoring": scoring, "metrics_bytes": 0}
        log["health"] = Health(1).state()
        write_json(settings, session.recipe.to_json())
        checkpoints.save(trainer.done, {**state_of(trainer), "log": log})
    if changed := differences(settings, session.recipe):
        raise UserError(f"{folder} holds a warm-up of other settings ({changed}). Remove it.")
    return checkpoints.load(torch.device("cpu"))


def run_row(base: str, row: str, runtime: Runtime) -> dict[str, Any]:
    """Train one row from its seed's warm-up, score it, and look at what its frozen knowledge was worth.

    Args:
        base: a recipe's name or file.
    """
    whole = load_recipe(find_recipe(base))
    recipe = with_parts(whole, ROWS[row])
    name = Path(base).stem
    session = Session(f"{name}_{re.sub('[^a-z]+', '_', row.lower()).strip('_')}", recipe, runtime)
    if not session.checkpoints.files() and not (session.folder / "result.json").exists():
        warm = runtime.runs / "warm_up" / f"{name}_{runtime.seed}"
        state = warm_up(Session(name, with_parts(whole, PARTS), runtime), warm)
        session.checkpoints.save(state["done"], state)
        write_json(session.folder / "recipe.json", recipe.to_json())
    trainer, _ = session.build()
    with true_labels(trainer) if row == ORACLE else nullcontext():
        result = run_one(session.name, recipe, runtime)
    load_state(trainer, session.checkpoints.load(trainer.fabric.device))
    return result | {"base": base, "row": row, "diagnosis": diagnosis(trainer)}


def diagnosis(trainer: Trainer) -> dict[str, float]:
    """Against the held-back target labels: purity of regions and clusters, and of each constraint the share of
    labelled pixels that its last round selected and the share of them whose frozen label is right."""
    term = trainer.terms[-1]
    if not isinstance(term, RPTTerm) or term.rows is None or trainer.images.regions is None:
        return {}
    truth = region_truth(trainer, term.rows)
    classes = term.num_classes
    found = {"region_purity": _purity(truth)}
    if term.assignment is not None:
        clusters = np.zeros((int(term.assignment.max()) + 1, classes), dtype=np.int64)
        np.add.at(clusters, term.assignment.cpu().numpy(), truth)
        found["cluster_purity"] = _purity(clusters)
    for name, labels in term.labels.items():
        frozen = labels[:-1].cpu().numpy()
        chosen = frozen != IGNORE
        found[f"{name}_share"] = 100 * truth[chosen].sum() / truth.sum()
        right = truth[chosen, frozen[chosen]].sum()
        found[f"{name}_precision"] = 100 * right / max(1, truth[chosen].sum())
    return {name: float(value) for name, value in found.items()}


def region_truth(trainer: Trainer, rows: RegionRows) -> np.ndarray:
    """int64 [regions, classes]: labelled pixels of each class in each region, from the held-back labels."""
    data, size = trainer.images.target, trainer.recipe.target.size
    truth = np.zeros((rows.total, len(data.label_space)), dtype=np.int64)
    for index in range(len(data)):
        label = resized_label(data.label(index), size)
        place = trainer.images.regions(data.image(index)) + int(rows.offsets[index])
        known = label != IGNORE
        np.add.at(truth, (place[known], label[known]), 1)
    return truth


@contextmanager
def true_labels(trainer: Trainer) -> Iterator[None]:
    """RPT freezes, in the regions that it selects, the commonest true label. An oracle, for diagnosis."""
    counts, _ = trainer.images.regions.survey(trainer.images.target)
    truth = torch.from_numpy(region_truth(trainer, RegionRows(counts, torch.device("cpu"))))
    right = torch.where(truth.sum(1) > 0, truth.argmax(1), IGNORE).byte()
    freeze = RPTTerm._freeze

    def corrected(term: RPTTerm, table: RegionTable) -> None:
        freeze(term, table)
        for labels in term.labels.values():
            labels[:-1] = torch.where(labels[:-1] != IGNORE, right, IGNORE)

    RPTTerm._freeze = corrected
    try:
        yield
    finally:
        RPTTerm._freeze = freeze


def _purity(counts: np.ndarray) -> float:
    """Percent of the pixels that have the commonest class of their group; counts [groups, classes]."""
    return float(100 * counts.max(1).sum() / counts.sum())


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a table for each commit, since gains are paired within one."""
    by_commit: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_commit.setdefault(str(result["commit"])[:40], []).append(result)
    return "\n\n".join(map(_table, by_commit.values()))


def _table(results: list[dict[str, Any]]) -> str:
    """One row an override, gains paired by seed."""
    lines = [
        "| on top of | RPT | seeds | mIoU | gain over none | PC selects / right | CC selects / right |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    runs = {(result["base"], result["row"], result["seed"]): result for result in results}
    for base, rows in BASES.items():
        for row in rows:
            seeds = sorted(seed for found_base, found_row, seed in runs if (found_base, found_row) == (base, row))
            if not seeds:
                continue
            own = [runs[base, row, seed] for seed in seeds]
            floor = {seed: _miou(runs[base, "none", seed]) for seed in seeds if (base, "none", seed) in runs}
            gains = [_miou(run) - floor[seed] for seed, run in zip(seeds, own, strict=True) if seed in floor]
            cells = [_spread([_miou(run) for run in own]), _spread(gains) if row != "none" else ""]
            for name in ("patch", "cluster"):
                shares = [run["diagnosis"].get(f"{name}_share") for run in own]
                right = [run["diagnosis"].get(f"{name}_precision") for run in own]
                known = None not in shares
                cells.append(f"{statistics.mean(shares):.0f} % / {statistics.mean(right):.1f} %" if known else "")
            lines.append(f"| {base} | {row} | {len(seeds)} | " + " | ".join(cells) + " |")
    purities = {
        name: statistics.mean(result["diagnosis"][name] for result in results if name in result["diagnosis"])
        for name in ("region_purity", "cluster_purity")
        if any(name in result["diagnosis"] for result in results)
    }
    commits = sorted({short_commit(result["commit"]) for result in results})
    told = ", ".join(f"{name.replace('_', ' ')} {value:.1f} %" for name, value in purities.items())
    steps = sorted({result["steps"] for result in results})
    head = f"CamVid val, 10 classes, {', '.join(map(str, steps))} steps, commit {', '.join(commits)}; {told}."
    return "\n".join([head, "", *lines])


def _miou(result: dict[str, Any]) -> float:
    return float(result["scores"]["camvid10"]["miou"])


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--bases", nargs="+", default=list(BASES), help=f"of {', '.join(BASES)}")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    if unknown := (set(options.bases) - set(BASES)) | (set(options.rows) - set(ROWS)):
        raise UserError(f"Unknown: {', '.join(sorted(unknown))}. Bases: {', '.join(BASES)}. Rows: {', '.join(ROWS)}.")
    for seed in options.seeds:
        for base in options.bases:
            for row in (row for row in BASES[base] if row in options.rows):
                runtime = Runtime(
                    seed=seed,
                    data_root=options.data_root,
                    runs=options.runs,
                    tracking="none",
                    workers=options.workers,
                    log_every=50,
                    save_every=200,
                )
                results = keep(RESULTS, run_row(base, row, runtime), ("base", "row", "seed", "commit"))
    print(table(results))


if __name__ == "__main__":
    exits_cleanly(main)
