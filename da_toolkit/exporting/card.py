"""The model card of an export: recipe, data, scores with protocol and seeds, licences, equality, how to load."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from da_toolkit import __version__
from da_toolkit.report.runs import Run
from da_toolkit.report.table import mean_and_spread, number
from da_toolkit.runs.trained import TrainedRun
from da_toolkit.shareable import short_commit

LICENCES = {
    "Cityscapes": "non-commercial use alone, under its own agreement",
    "GTA5": "research and teaching, as its authors ask",
    "Synthia": "CC BY-NC-SA 3.0: no commercial use",
    "Carla": "the Lyft perception challenge's recordings of CARLA; CARLA's assets are CC BY 4.0",
    "Streets": "drawn by this toolkit, Apache-2.0",
}
"""What is known of the terms of data sets, by the name of their settings."""


@dataclass(frozen=True)
class Told:
    """What a card says beyond what the run's folder knows."""

    file: str
    """The model's."""
    loading: str
    """Markdown: how to load it."""
    takes: str
    equality: str


def siblings(run: TrainedRun, found: Sequence[Run]) -> list[dict[str, Any]]:
    """Results of the same recipe and number of steps, of all seeds, in their order."""
    own = run.result
    same = [r.result for r in found if all(r.result.get(key) == own.get(key) for key in ("recipe", "steps"))]
    others = [result for result in same if result["seed"] != own["seed"]]
    return sorted([own, *others], key=lambda result: result["seed"])


def card(run: TrainedRun, results: Sequence[dict[str, Any]], told: Told) -> str:
    """Markdown with a hub's front matter.

    Args:
        results: contents of `result.json` of the recipe's seeds, this run's among them.
    """
    result, recipe = run.result, run.recipe
    target, source = type(recipe.target).__name__, type(recipe.source).__name__
    last = run.weights == "model.safetensors"
    parts = [
        f"---\n{_front_matter(run, target, last)}\n---",
        f"# {result['recipe']}, seed {result['seed']}",
        f"Semantic segmentation by {type(recipe.model).__name__} ({recipe.model.backbone}), trained on {source} and "
        f"adapted to {target} by {result['method']} with da_toolkit {__version__}. It decides between "
        f"{len(run.label_space)} classes ({run.label_space.name}): {', '.join(run.label_space.classes)}.",
        f"## Recipe\n\n{_recipe(run, last)}",
        f"## Data\n\nSource (labelled): {source}. Target: {target}"
        f"{', labelled too' if recipe.method.reads.target_labels else ', without labels'}. Images are brought to "
        f"{_size(recipe.evaluation_size)} before the network.",
        f"## Scores\n\n{_scores(results, result)}",
        f"## File\n\n`{told.file}` takes {told.takes}. Images are RGB, 0..1, as float32 [batch, 3, height, width]; it "
        "normalises them itself, and gives logits [batch, classes, height, width], whose argmax is the train id.\n\n"
        f"{told.equality}",
        f"## How to load\n\n{told.loading}",
        f"## Licences\n\n{_licences(run, source, target)}",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(run: TrainedRun, target: str, last: bool) -> str:
    scores = [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=target.lower(),
            dataset_name=f"{target} val, protocol {protocol}",
            metric_type="mean_iou",
            metric_name="mIoU, percent",
            metric_value=round(found["miou"], 2),
        )
        for protocol, found in run.result["scores"].items()
        if found["miou"] is not None and last
    ]
    data = ModelCardData(
        license="other",
        license_name="see-licences-below",
        library_name="da_toolkit",
        pipeline_tag="image-segmentation",
        tags=["semantic-segmentation", "unsupervised-domain-adaptation", type(run.recipe.model).__name__.lower()],
        model_name=f"{run.result['recipe']}, seed {run.result['seed']}",
        eval_results=scores or None,
    )
    text: str = data.to_yaml()
    return text


def _recipe(run: TrainedRun, last: bool) -> str:
    result = run.result
    told = (
        f"{result.get('steps', 'unknown')} steps; seed {result['seed']}; commit {short_commit(result.get('commit'))}. "
        "All settings are in `recipe.json` beside this card."
    )
    if last:
        return told
    kept = result.get("kept_best") or {}
    return (
        f"{told} These are the weights of step {kept.get('step')}, which the run kept by {kept.get('by')}; the scores "
        "below are those of its last step."
    )


def _scores(results: Sequence[dict[str, Any]], own: dict[str, Any]) -> str:
    lines = ["| protocol | seeds | mIoU, percent | this seed |", "| --- | --- | ---: | ---: |"]
    for protocol, found in own["scores"].items():
        known = [r["scores"][protocol]["miou"] for r in results if protocol in r["scores"]]
        values = [value for value in known if value is not None]
        seeds = ", ".join(str(r["seed"]) for r in results if protocol in r["scores"])
        lines.append(f"| {protocol} | {seeds} | {mean_and_spread(values)} | {number(found['miou'])} |")
    main, found = next(iter(own["scores"].items()))
    classes = [f"| {name} | {number(value)} |" for name, value in found["per_class"].items()]
    told = (
        "On the target's validation images at the labels' full resolution, of the last step of each run (mean and "
        "sample standard deviation over seeds)."
    )
    paper = own.get("reported")
    if paper:
        told += f" The paper's own number is {paper['miou']} ({paper['paper']}, {paper['protocol']}); it is not ours."
    return "\n".join([told, "", *lines, "", f"| class ({main}) | IoU, percent |", "| --- | ---: |", *classes])


def _licences(run: TrainedRun, *domains: str) -> str:
    terms = [f"- {name}: {LICENCES.get(name, 'see its own terms')}." for name in dict.fromkeys(domains)]
    start = run.recipe.model.weights
    if start != "none":
        named = Path(start).name if "/" in start else start
        terms.append(
            f"- The backbone {run.recipe.model.backbone} started from weights ({named}) with terms of their own."
        )
    return (
        "da_toolkit is Apache-2.0. Weights may inherit the terms of what they were trained on; whoever shares them "
        "decides on a licence in the light of these:\n\n" + "\n".join(terms)
    )


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]} (height x width)"
