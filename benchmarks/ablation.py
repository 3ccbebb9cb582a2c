"""RPT's ablation: which constraint helps, and how good its selected regions are.

    python benchmarks/ablation.py --data-root FOLDER --bases adv_rpt_carla rpt_carla dacs_rpt_carla
    python benchmarks/ablation.py --bases adv_rpt_streets

Rows are overrides of one recipe: the weights of some of RPT's constraints set to 0, or whose labels it believes; a
constraint that is on has the recipe's weight (clusters 0.5), or 1 where that is 0 (patches, logic). The runs of one
seed share their warm-up, in which RPT is silent and all rows are the same; each goes on from its checkpoint. Resumable
run by run.

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy import named, run_one
from engines import run_all
from records import keep
from rich.progress import track

from da_toolkit.data.labels import IGNORE
from da_toolkit.data.transforms import resized_label
from da_toolkit.errors import UserError, exits_cleanly
from da_toolkit.files import write_json
from da_toolkit.recipe import Recipe, demo_version, find_recipe, load_recipe, recipe_files
from da_toolkit.regularizers.rpt.regions import RegionRows, RegionTable
from da_toolkit.regularizers.rpt.term import RPTTerm
from da_toolkit.report.table import mean_and_spread
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
ORACLE = "all, true labels (oracle)"
CLASSES = "all, labels of classes, all believed"


@dataclass(frozen=True)
class Override:
    """What a row changes of the recipe's RPT."""

    parts: tuple[str, ...] = PARTS
    """The constraints that are on."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Further settings of RPT."""


ROWS: dict[str, Override] = {
    "none": Override(()),
    "PC": Override(("patch",)),
    "CC": Override(("cluster",)),
    "SL": Override(("logic",)),
    "PC + CC": Override(("patch", "cluster")),
    "CC, not balanced": Override(("cluster",), {"balance": 0.0}),
    "all": Override(),
    "all, every category believed": Override(changes={"trust": 0.0}),
    "all, labels of classes": Override(changes={"level": "class"}),
    CLASSES: Override(changes={"level": "class", "trust": 0.0, "balance": 0.0}),
    ORACLE: Override(),
}
BASES = {
    "adv_rpt_carla": tuple(ROWS),
    **{base: ("none", "CC", "PC + CC", "all") for base in ("rpt_carla", "dacs_rpt_carla")},
    "adv_rpt_camvid": ("none", "PC", "CC", "PC + CC", "all", CLASSES),
    **{base: ("none", "all") for base in ("rpt_camvid", "target_bn_rpt_camvid")},
    "adv_rpt_streets": ("none", "CC", "CC, not balanced", "all"),
}


def based_on(base: str) -> Recipe:
    """The recipe of that name or file, or of a method on the embedded street world."""
    method, _, pair = base.rpartition("_")
    if pair != "streets" or base in recipe_files():
        return load_recipe(find_recipe(base))
    return demo_version(load_recipe(find_recipe(named(method, pair))))


def overridden(recipe: Recipe, row: Override) -> Recipe:
    """The recipe with the row's settings of RPT and without validators; a constraint that is on has the recipe's
    weight, or 1 where that is 0."""
    *others, regularizer = recipe.method.regularizers
    found = {part: getattr(regularizer, part) for part in PARTS}
    weights = {part: (found[part].weight or 1.0) if part in row.parts else 0.0 for part in PARTS}
    parts = {part: dataclasses.replace(found[part], weight=weights[part]) for part in PARTS}
    rpt = dataclasses.replace(regularizer, **parts, **row.changes)
    method = dataclasses.replace(recipe.method, regularizers=(*others, rpt))
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
        scoring = {"evaluations": [], "kept_best": None, "confusion": [], "validators": None}
        log = {"seconds": time.perf_counter() - begin, "scoring": scoring, "metrics_bytes": 0}
        log["health"] = Health(1).state()
        write_json(settings, session.recipe.to_json())
        checkpoints.save(trainer.done, {**state_of(trainer), "log": log})
    if changed := differences(settings, session.recipe):
        raise UserError(f"{folder} holds a warm-up of other settings ({changed}). Remove it.")
    return checkpoints.load(torch.device("cpu"))


@dataclass(frozen=True)
class Task:
    """One row of one seed."""

    base: str
    row: str
    runtime: Runtime


def run_task(task: Task) -> dict[str, Any]:
    """Its result, wherever this is called."""
    return run_row(task.base, task.row, task.runtime)


def run_row(base: str, row: str, runtime: Runtime) -> dict[str, Any]:
    """Train one row from its seed's warm-up, score it, and look at what its frozen knowledge was worth.

    Args:
        base: a recipe's name or file, or a method's name and "_streets".
    """
    whole = based_on(base)
    recipe = overridden(whole, ROWS[row])
    name = Path(base).stem
    session = Session(f"{name}_{re.sub('[^a-z]+', '_', row.lower()).strip('_')}", recipe, runtime)
    trainer, _ = session.build()
    if not session.checkpoints.files() and not (session.folder / "result.json").exists():
        warm = runtime.runs / "warm_up" / f"{name}_{runtime.seed}"
        state = warm_up(Session(name, overridden(whole, Override()), runtime), warm)
        session.checkpoints.save(state["done"], state | {"terms": state["terms"] | _regularizer(trainer)})
        write_json(session.folder / "recipe.json", recipe.to_json())
    with true_labels(trainer) if row == ORACLE else nullcontext():
        result = run_one(session.name, recipe, runtime)
    load_state(trainer, session.checkpoints.load(trainer.fabric.device))
    return result | {"base": base, "row": row, "diagnosis": diagnosis(trainer)}


def _regularizer(trainer: Trainer) -> dict[str, Any]:
    """The state of the row's own RPT: what it names differs between rows, and in a warm-up it has learned nothing."""
    last = f"{len(trainer.terms) - 1}."
    return {name: value for name, value in trainer.players.state_dict().items() if name.startswith(last)}


def diagnosis(trainer: Trainer) -> dict[str, float]:
    """Against the held-back target labels, in percent: purity of regions and clusters (in classes), and of each
    constraint the share of labelled pixels that its last round selected, the share of them whose frozen label is right,
    and the same by what the label names."""
    term = trainer.terms[-1]
    if not isinstance(term, RPTTerm) or term.rows is None or trainer.images.regions is None or not term.labels:
        return {}
    truth = region_truth(trainer, term.rows)
    names = term.categories.names
    found = {"region_purity": _purity(truth)}
    if term.assignment is not None:
        clusters = np.zeros((int(term.assignment.max()) + 1, truth.shape[1]), dtype=np.int64)
        np.add.at(clusters, term.assignment.cpu().numpy(), truth)
        found["cluster_purity"] = _purity(clusters)
    truth = np.stack([truth[:, list(members)].sum(1) for members in term.categories.members], 1)
    for name, labels in term.labels.items():
        frozen = labels[:-1].cpu().numpy()
        chosen = frozen != IGNORE
        found[f"{name}_share"] = 100 * truth[chosen].sum() / truth.sum()
        right = truth[chosen, frozen[chosen]].sum()
        found[f"{name}_precision"] = 100 * right / max(1, truth[chosen].sum())
        for number in np.unique(frozen[chosen]).tolist():
            own = truth[frozen == number]
            found[f"{name}_right_{names[number]}"] = 100 * own[:, number].sum() / max(1, own.sum())
            found[f"{name}_selects_{names[number]}"] = 100 * own.sum() / truth[chosen].sum()
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
    right = torch.where(truth.sum(1) > 0, truth.argmax(1), IGNORE)
    set_labels = RPTTerm._set_labels

    def corrected(term: RPTTerm, labels: dict[str, torch.Tensor], table: RegionTable) -> None:
        true = term.categories.labels(right.to(table.votes.device)).byte()
        true = torch.cat([true, true.new_full((1,), IGNORE)])
        set_labels(term, {name: true.where(found != IGNORE, IGNORE) for name, found in labels.items()}, table)

    RPTTerm._set_labels = corrected
    try:
        yield
    finally:
        RPTTerm._set_labels = set_labels


def _purity(counts: np.ndarray) -> float:
    """Percent of the pixels that have the commonest class of their group; counts [groups, classes]."""
    return float(100 * counts.max(1).sum() / counts.sum())


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a table for each commit, device and pair, since gains are paired within one."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault((str(result["commit"])[:40], result["device"]), []).append(result)
    return "\n\n".join(map(_table, groups.values()))


def _table(results: list[dict[str, Any]]) -> str:
    """One row an override, gains paired by seed, under the pair's protocols."""
    parts = [
        _pair_table([result for result in results if set(result["scores"]) == names], sorted(names))
        for names in _distinct([set(result["scores"]) for result in results])
    ]
    return "\n\n".join(parts)


def _distinct(values: list[set[str]]) -> list[set[str]]:
    return [value for place, value in enumerate(values) if value not in values[:place]]


def _pair_table(results: list[dict[str, Any]], protocols: list[str]) -> str:
    heads = [head for name in protocols for head in (name, "gain", "least gain")]
    lines = [
        f"| on top of | RPT | seeds | {' | '.join(heads)} | PC selects / right | CC selects / right |",
        f"| --- | --- | ---: | {' | '.join('---:' for _ in heads)} | ---: | ---: |",
    ]
    runs = {(result["base"], result["row"], result["seed"]): result for result in results}
    for base in dict.fromkeys(result["base"] for result in results):
        for row in [row for row in ROWS if any(found[:2] == (base, row) for found in runs)]:
            own = {seed: run for (found, name, seed), run in sorted(runs.items()) if (found, name) == (base, row)}
            cells = []
            for protocol in protocols:
                gains = [
                    _miou(run, protocol) - _miou(runs[base, "none", seed], protocol)
                    for seed, run in own.items()
                    if (base, "none", seed) in runs and row != "none"
                ]
                cells.append(mean_and_spread([_miou(run, protocol) for run in own.values()]))
                cells += [mean_and_spread(gains), f"{min(gains):+.1f}"] if gains else ["", ""]
            for name in ("patch", "cluster"):
                shares = [run["diagnosis"].get(f"{name}_share") for run in own.values()]
                right = [run["diagnosis"].get(f"{name}_precision") for run in own.values()]
                known = None not in shares
                cells.append(f"{statistics.mean(shares):.0f} % / {statistics.mean(right):.1f} %" if known else "")
            lines.append(f"| {base} | {row} | {len(own)} | " + " | ".join(cells) + " |")
    commits = sorted({short_commit(result["commit"]) for result in results})
    steps = sorted({result["steps"] for result in results})
    devices = sorted({result["device"] for result in results})
    head = f"{', '.join(map(str, steps))} steps, commit {', '.join(commits)}, {', '.join(devices)}."
    return "\n".join([head, "", *lines, "", *_labels_table(results)])


def _right(results: list[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, tuple[float, float]]]:
    """(base, row, part) -> what its labels name -> percent right, and percent of what is selected; means over seeds."""
    found: dict[tuple[str, str, str], dict[str, list[tuple[float, float]]]] = {}
    for result in results:
        for key, right in result["diagnosis"].items():
            part, _, name = key.partition("_right_")
            if name:
                place = found.setdefault((result["base"], result["row"], part), {})
                place.setdefault(name, []).append((right, result["diagnosis"][f"{part}_selects_{name}"]))
    return {
        which: {name: tuple(map(statistics.mean, zip(*values, strict=True))) for name, values in place.items()}
        for which, place in found.items()
    }


def _labels_table(results: list[dict[str, Any]]) -> list[str]:
    """How right frozen labels are by what they name, with each one's share of what is selected."""
    found = _right(results)
    names = list(dict.fromkeys(name for place in found.values() for name in place))
    if not names:
        return []
    lines = [
        "Labels of the last round that are right, percent (in brackets, of what is selected):",
        "",
        f"| on top of | RPT | labels | {' | '.join(names)} |",
        f"| --- | --- | --- | {' | '.join('---:' for _ in names)} |",
    ]
    for (base, row, part), place in found.items():
        cells = [f"{place[name][0]:.0f} ({place[name][1]:.0f})" if name in place else "–" for name in names]
        lines.append(f"| {base} | {row} | {part} | " + " | ".join(cells) + " |")
    return lines


def picture(results: list[dict[str, Any]]) -> str:
    """SVG: how right the labels of clusters are by what they name, of classes that are all believed and as they are
    by default; for each base that has both rows, each from its last commit. Nothing where none has."""
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for result in results:
        rows.setdefault(result["base"], {}).setdefault(result["row"], []).append(result)
    bases = {base: own for base, own in rows.items() if CLASSES in own and "CC" in own}
    if not bases:
        return ""
    charts = []
    for line, (base, found) in enumerate(bases.items()):
        for column, row in enumerate((CLASSES, "CC")):
            commit, device = found[row][-1]["commit"], found[row][-1]["device"]
            own = [result for result in found[row] if (result["commit"], result["device"]) == (commit, device)]
            where = f"{short_commit(commit)}, {device}, seeds {len(own)}"
            left, top = 120 + 480 * column, 60 + 270 * line
            charts.append(f'<text x="{left}" y="{top - 30}">{base}, {row}</text>')
            charts.append(f'<text x="{left}" y="{top - 14}" fill="#666">{where}</text>')
            for place, (name, (right, share)) in enumerate(_right(own)[base, row, "cluster"].items()):
                y, much = top + 18 * place, f"{right:.0f} % right, {share:.0f} % of all"
                charts.append(
                    f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{name}</text>'
                    f'<rect x="{left}" y="{y}" width="{2.4 * right:.0f}" height="14" fill="#1f6feb"/>'
                    f'<text x="{left + 2.4 * right + 6:.0f}" y="{y + 11}">{much}</text>'
                )
    height = 30 + 270 * len(bases)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 980 {height}" font-family="sans-serif" font-size="12">'
        f'<rect width="980" height="{height}" fill="#fff"/>{"".join(charts)}</svg>\n'
    )


def _miou(result: dict[str, Any], protocol: str) -> float:
    return float(result["scores"][protocol]["miou"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, help="folder that holds the data sets (not needed for streets)")
    parser.add_argument("--bases", nargs="+", default=list(BASES), help=f"of {', '.join(BASES)}")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--frame-cache", type=Path, help="as the runs' own: decoded frames, with the same results")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, with an equal share of the cores each")
    options = parser.parse_args()
    if unknown := (set(options.bases) - set(BASES)) | (set(options.rows) - set(ROWS)):
        raise UserError(f"Unknown: {', '.join(sorted(unknown))}. Bases: {', '.join(BASES)}. Rows: {', '.join(ROWS)}.")
    tasks = [
        Task(
            base,
            row,
            Runtime(
                seed=seed,
                data_root=options.data_root,
                runs=options.runs,
                tracking="none",
                workers=options.workers,
                frame_cache=options.frame_cache,
                log_every=50,
                save_every=200,
            ),
        )
        for seed in options.seeds
        for base in options.bases
        for row in BASES[base]
        if row in options.rows
    ]
    first = {(task.base, task.runtime.seed): task for task in reversed(tasks)}  # make the warm-ups
    rest = [task for task in tasks if task not in first.values()]
    for group in (list(first.values()), rest):
        for result in run_all(run_task, group, "local", options.jobs):
            results = keep(RESULTS, result, ("base", "row", "seed"))
    print(table(results))


if __name__ == "__main__":
    exits_cleanly(main)
