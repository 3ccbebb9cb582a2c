"""What a training step takes and keeps: milliseconds, images a second, and the most that autograd holds at a time.

    python benchmarks/step_time.py [--methods NAME ...] [--published]

On the demo network all methods take turns in one run. Beside what a step holds stands what it would hold if all losses
went backward at once, as their sum. With `--published` the same bytes for a ResNet-101 DeepLab-v2 of two levels, one
source image of 1280x720 and one target image of 1024x512 (512x512 both for methods that mix them), on PyTorch's meta
device: nothing is computed there. Batch norms train their statistics, in single precision.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from kept import Kept
from lightning.fabric import Fabric
from records import keep

from da_toolkit.data.batch import Batch
from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.errors import exits_cleanly
from da_toolkit.methods import MeanTeacher
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import Recipe, Schedule, Stage, load_recipe, recipe_files
from da_toolkit.recipe.demo import demo_version
from da_toolkit.registry import METHODS
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit
from da_toolkit.terms.step import Step
from da_toolkit.terms.term import BuildContext, Method, Term
from da_toolkit.training.passes import PassStep, learn
from da_toolkit.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "step_time.json"
STAGE = Stage("round 1", 10_000, round=1)
ROUNDS = 7
PUBLISHED = DeepLabV2("resnet101", 8, "none", "affine_frozen", aux=True)


def recipe_of(method: Method) -> Recipe:
    """The demo network's, in a round, with few target frames: the pass over them is not what is timed."""
    plain = demo_version(load_recipe(recipe_files()["source_only_gta"]))
    aux = any(getattr(part, "level", "main") == "aux" for part in getattr(method, "discriminators", ()))
    return dataclasses.replace(
        plain,
        method=method,
        model=dataclasses.replace(plain.model, aux=aux),
        target=dataclasses.replace(plain.target, frames=8),
        schedule=Schedule((STAGE,)),
    )


def kept(network: torch.nn.Module, backward: Callable[[], object]) -> int:
    """The most bytes that autograd holds at a time while it runs."""
    found = Kept(network)
    with found.hooks():
        backward()
    return found.most


def both_ways(
    network: torch.nn.Module, terms: Sequence[Term], source: Batch | None, target: Batch | None
) -> dict[str, int]:
    """Bytes held if passes go backward one by one, as they do, and if the losses' sum does."""

    def by_pass() -> None:
        learn(terms, PassStep(network, source, target), lambda loss: loss.backward(), nullcontext)

    def at_once() -> None:
        step = Step(network, source, target)
        torch.stack([loss for term in terms for loss in term.losses(step).values()]).sum().backward()

    return {"kept": kept(network, by_pass), "kept_of_sum": kept(network, at_once)}


def demo(names: Sequence[str], rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """A record of each method on the demo network, timed in turns."""
    trainers, times = {}, {}
    for name in names:
        recipe = recipe_of(METHODS[name].build())
        trainer = Trainer(recipe, Fabric(devices=1), recipe.source.build("train"), recipe.target.build("train"))
        trainer.begin(STAGE)
        trainer.step()  # warms up
        trainers[name], times[name] = trainer, []
    for _ in range(rounds):
        for name, trainer in trainers.items():
            begin = time.perf_counter()
            trainer.step()
            times[name].append(1000 * (time.perf_counter() - begin))
    results = []
    for name, trainer in trainers.items():
        batches = trainer.images.next()
        for term in trainer.terms:
            batches = term.transform(*batches)
        low, median, high = statistics.quantiles(times[name], n=4, method="inclusive")
        results.append(
            {
                "network": "demo",
                "method": name,
                "ms": [low, median, high],
                "images_per_second": 1000 * trainer.meter.images_per_step / median,
                **both_ways(trainer.model, trainer.terms, *batches),
            }
        )
    return results


def published(name: str) -> dict[str, Any]:
    """A record of a method on ResNet-101, in shapes alone."""
    method = METHODS[name].build()
    mixes = any(isinstance(part, MeanTeacher) and part.mix.weight for part in method.regularizers)
    sizes = ((512, 512), (512, 512)) if mixes else ((720, 1280), (512, 1024))
    with torch.device("meta"):
        network = PUBLISHED.build(len(CITYSCAPES19)).train()
        terms = method.build(BuildContext(CITYSCAPES19, network.feature_channels, network, PUBLISHED))
        source, target = (
            Batch(torch.rand(1, 3, *size), torch.zeros(1, *size, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
            for size in sizes
        )
        return {"network": "resnet101", "method": name, **both_ways(network, terms, source, target)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", help="by default all; records of others stay as they are")
    parser.add_argument("--published", action="store_true", help="memory of ResNet-101 at the published sizes instead")
    options = parser.parse_args()
    names = options.methods or METHODS.names()
    torch.set_num_threads(1)
    found = (published(name) for name in names) if options.published else demo(names)
    results: list[dict[str, Any]] = []
    for record in found:
        where = environment(torch.device("cpu") if options.published else Fabric(devices=1).device)
        results = keep(RESULTS, record | {"threads": 1} | where, ("network", "method"))
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a method and network."""
    commits = sorted({short_commit(result["commit"]) for result in results})
    lines = [
        f"{results[0]['device']}, {results[0]['threads']} thread; commits {', '.join(commits)}.",
        "",
        "| network | method | ms | images/s | held at most, MiB | of the sum, MiB | ratio |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in sorted(results, key=lambda result: (result["network"], result["method"])):
        timed = "– | –"
        if "ms" in result:
            low, median, high = result["ms"]
            timed = f"{median:.0f} ({low:.0f} – {high:.0f}) | {result['images_per_second']:.1f}"
        held, whole = result["kept"] / 2**20, result["kept_of_sum"] / 2**20
        lines.append(
            f"| {result['network']} | {result['method']} | {timed} | {held:.0f} | {whole:.0f} | {held / whole:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    exits_cleanly(main)
