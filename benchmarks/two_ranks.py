"""Two processes with two images each against one with four: how far gradients are apart, for every method with RPT.

    python benchmarks/two_ranks.py

Street world, one warm-up step and one of a round, so that the shared pass over the target, thresholds, clustering and
frozen labels are part of it. Compared are the network's gradients of the second step, and those of discriminators in
the first (Adam's first step is the gradient's sign, which rounding decides where it is 0). Batch norm's statistics are
fixed: each process takes them of its own images.
"""

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from chaos import recipe_of
from lightning.fabric import Fabric
from ranks import network_gradients, player_gradients, two_ranks

from da_toolkit.errors import exits_cleanly
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.files import write_json
from da_toolkit.models.deeplab import DeepLabV2
from da_toolkit.recipe import SGD, Recipe, Schedule, Stage, rounds
from da_toolkit.registry import METHODS
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit
from da_toolkit.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "two_ranks.json"
NAMES = [name for name in METHODS.names() if getattr(METHODS[name].build(), "trains", "all") != "norms"]
"""All methods, but those that train batch norms alone: a rank's own images decide their statistics."""
TOLERANCE = 2e-3
"""Of a tensor's largest value; what the test demands."""


def recipe_for(name: str, batch_size: int) -> Recipe:
    return dataclasses.replace(
        recipe_of(METHODS[name].build()),
        model=DeepLabV2("test_resnet", 16, "none", batch_norm="frozen", aux=True, dilations=(1, 2)),
        schedule=Schedule((Stage("warm-up", 1), *rounds(1, 1))),
        optimizer=SGD(lr=0.05, head_multiplier=1),
        batch_size=batch_size,
        evaluation=Evaluation(validators=0),
    )


def gradients_of_all(fabric: Fabric, batch_size: int) -> dict[str, dict[str, torch.Tensor]]:
    """By method and parameter."""
    found = {}
    for name in NAMES:
        recipe = recipe_for(name, batch_size)
        trainer = Trainer(recipe, fabric, recipe.source.build("train"), recipe.target.build("train"))
        players: dict[str, torch.Tensor] = {}

        def look(step: int, trainer: Trainer = trainer, players: dict[str, torch.Tensor] = players) -> None:
            if step == 1:
                players.update(player_gradients(trainer))

        trainer.fit(lambda *_: None, after_step=look)
        found[name] = network_gradients(trainer) | players
    return found


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Largest difference of two sets of tensors, each relative to the tensor's largest value."""
    if one.keys() != other.keys():
        return float("inf")
    pairs = [(tensor, other[name]) for name, tensor in one.items() if tensor.abs().max() > 1e-6]
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def table(result: dict[str, Any]) -> str:
    """Markdown: one row a method."""
    lines = [
        f"Stated tolerance {TOLERANCE:g}; commit {short_commit(result['commit'])}.",
        "",
        "| method (with RPT) | tensors | largest relative difference | between the two ranks |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row in result["methods"]:
        lines.append(f"| {row['method']} | {row['tensors']} | {row['apart']:.1e} | {row['ranks']:.1e} |")
    return "\n".join(lines)


def main() -> int:
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DA_TOOLKIT_CACHE"] = str(Path(folder) / "cache")
        first, second = two_ranks(lambda fabric: gradients_of_all(fabric, 2), Path(folder), limit_s=3600)
        whole = gradients_of_all(Fabric(accelerator="cpu", devices=1), 4)
    rows = [
        {
            "method": name,
            "tensors": len(whole[name]),
            "apart": max(apart(whole[name], rank[name]) for rank in (first, second)),
            "ranks": apart(first[name], second[name]),
        }
        for name in NAMES
    ]
    result = {"methods": rows, **environment(torch.device("cpu"))}
    print(table(result))
    write_json(RESULTS, result)
    return int(any(row["apart"] > TOLERANCE for row in rows))


if __name__ == "__main__":
    exits_cleanly(main)
