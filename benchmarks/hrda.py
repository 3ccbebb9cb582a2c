"""Time and memory of a training step with HRDA against the same training of the inner network alone.

    OMP_NUM_THREADS=1 python benchmarks/hrda.py             # a quarter of the published sizes, MiT-B0, on the CPU
    python benchmarks/hrda.py --device cuda                 # the published sizes and networks, random weights

Steps of all recipes are timed in one run, in turns, so that a busy machine slows all alike; medians are kept.
Memory is measured in a process of its own for each: on a GPU the most that tensors held during three steps, on the CPU
how far those steps let the process grow once it had network and terms. Images are street frames at the size of the
recipe's crops; nothing is downloaded.
"""

import argparse
import dataclasses
import multiprocessing
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from records import keep

from da_toolkit.data import Streets
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import exits_cleanly
from da_toolkit.models import DAFormer
from da_toolkit.recipe import Recipe, find_recipe, load_recipe
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit
from da_toolkit.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "hrda.json"
PAIRS = {"hrda_gta": "daformer_gta", "mic_hrda_gta": "mic_gta"}
NAMES = tuple(name for pair in PAIRS.items() for name in reversed(pair))
SHRINK = 4
MIB = 2**20


def measured(name: str, small: bool) -> Recipe:
    """The recipe on street frames at its crops' size, with random weights; a quarter of it with MiT-B0 if `small`."""
    recipe = load_recipe(find_recipe(name))
    assert recipe.source_augmentation.crop is not None
    height, width = (side // (SHRINK if small else 1) for side in recipe.source_augmentation.crop)
    model = recipe.model.with_weights("none")
    if small:
        model = recipe.model.with_network(DAFormer("mit_b0", weights="none", width=64))
    domains = {
        name: Streets(size=(height, width), look=look, frames=8, val_frames=2)
        for name, look in (("source", "game"), ("target", "camera"))
    }
    return dataclasses.replace(
        recipe,
        model=model,
        source_augmentation=Augmentation(),
        target_augmentation=Augmentation(),
        rare_classes=None,
        reported=None,
        **domains,
    )


def trainer_of(name: str, device: str) -> Trainer:
    """A trainer whose steps can be timed."""
    from lightning.fabric import Fabric

    recipe = measured(name, device == "cpu")
    data = recipe.source.build("train"), recipe.target.build("train")
    trainer = Trainer(recipe, Fabric(accelerator=device, devices=1), *data)
    trainer.begin(recipe.schedule.stages[0])
    return trainer


def step_ms(trainer: Trainer) -> float:
    """Milliseconds of one step, the device's work included."""
    begin = time.perf_counter()
    trainer.step()
    if trainer.fabric.device.type == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begin)


def memory(name: str, device: str) -> int:
    """Bytes that three steps need at most; on a GPU with network and terms. For a process of its own."""
    torch.set_num_threads(1)
    trainer = trainer_of(name, device)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        trainer.step()
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each recipe (default 7)")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    needed = {}
    for name in NAMES:
        with spawn.Pool(1) as process:
            needed[name] = process.apply(memory, (name, options.device))
    trainers = {name: trainer_of(name, options.device) for name in NAMES}
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    for turn in range(-2, options.rounds):
        for name, trainer in trainers.items():
            if turn < 0:  # the first ones allocate and choose algorithms
                trainer.step()
            else:
                times[name].append(step_ms(trainer))
    device = next(iter(trainers.values())).fabric.device
    rows = {
        name: {
            "size": list(trainers[name].recipe.source.size),
            "step_ms": statistics.median(found),
            "memory": needed[name],
        }
        for name, found in times.items()
    }
    result = {"kind": options.device, "backbone": trainers[NAMES[0]].recipe.model.backbone, "rows": rows}
    result |= {"rounds": options.rounds, "threads": torch.get_num_threads()} | environment(device)
    print(table(keep(RESULTS, result, ("kind",))))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a recipe and device, with what it is of the inner network's own training."""
    lines = []
    for result in sorted(results, key=lambda result: result["kind"]):
        lines += [
            f"{result['device']}, {result['backbone']}, batches of 2, median of {result['rounds']} steps, commit "
            f"{short_commit(result['commit'])}.",
            "",
            "| recipe | images | step, ms | ratio | memory, MiB | ratio |",
            "| --- | --- | ---: | ---: | ---: | ---: |",
        ]
        rows = result["rows"]
        for name, row in rows.items():
            base = rows[PAIRS.get(name, name)]
            size = "x".join(map(str, row["size"]))
            ratio, more = row["step_ms"] / base["step_ms"], row["memory"] / base["memory"]
            told = f"{row['step_ms']:.0f} | {ratio:.2f} | {row['memory'] / MIB:,.0f} | {more:.2f}"
            lines.append(f"| {name} | {size} | {told} |")
        lines.append("")
    return "\n".join(lines).strip()


if __name__ == "__main__":
    exits_cleanly(main)
