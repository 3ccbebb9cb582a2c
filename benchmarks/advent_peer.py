"""A two-level AdvEnt step at the published sizes against ADVENT's own training loop, in turns, and what each keeps.

    python benchmarks/advent_peer.py PATH [--ways fp32 bf16 ...] [--scale 1] [--rounds 7]

PATH is an unmodified checkout of github.com/valeoai/ADVENT: its network, its discriminators and its `train_advent` are
imported from there. Its loop asks its loader for the next source image when a step is over, and there the toolkit's
steps take their turns: A B A B in one process. Peaks are those of processes of their own: the most that the GPU's
allocator holds, or on a CPU how far the process grows beyond what it is before its first step.

ADVENT's loop wants a GPU; without one its calls that ask for one are answered with the CPU, and nothing else changes.
"""

import argparse
import contextlib
import dataclasses
import io
import multiprocessing
import os
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from records import keep
from step_time import PUBLISHED

from da_toolkit.data.batch import Batch
from da_toolkit.errors import UserError, exits_cleanly, unknown_name
from da_toolkit.recipe import SGD, Recipe, Schedule, Stage, load_recipe, recipe_files
from da_toolkit.recipe.demo import demo_version
from da_toolkit.registry import METHODS
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit
from da_toolkit.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "advent_peer.json"
PEER = "ADVENT's loop"
WAYS: dict[str, tuple[str, dict[str, bool]]] = {
    "fp32": ("32-true", {}),
    "fp32, recompute": ("32-true", {"recompute": True}),
    "fp32, compile": ("32-true", {"compile": True}),
    "bf16": ("bf16-mixed", {}),
    "bf16, compile": ("bf16-mixed", {"compile": True}),
}
CLASSES, SOURCE, TARGET = 19, (720, 1280), (512, 1024)
WARM = 2  # rounds that are not counted
Step = Callable[[], None]


def images(scale: float) -> tuple[Batch, Batch]:
    """One random image of each domain, the source's with labels, in the memory that loaders hand over."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for size in (SOURCE, TARGET):
        height, width = (round(side * scale / 8) * 8 for side in size)
        label = torch.randint(0, CLASSES, (1, height, width), generator=generator)
        given = torch.rand(1, 3, height, width, generator=generator), label, torch.zeros(1, dtype=torch.int64)
        found.append(Batch(*[tensor.pin_memory() if torch.cuda.is_available() else tensor for tensor in given]))
    return found[0], found[1]


def our_step(way: str, scale: float) -> Step:
    """A step of the toolkit's trainer on those images: losses, guard, optimisers, discriminators."""
    precision, how = WAYS[way]
    plain = demo_version(load_recipe(recipe_files()["source_only_gta"]))
    recipe: Recipe = dataclasses.replace(
        plain,
        method=METHODS["advent_multi"].build(),
        model=PUBLISHED,
        optimizer=SGD(lr=2.5e-4, momentum=0.9, weight_decay=5e-4),
        schedule=Schedule((Stage("train", 100_000),)),
        batch_size=1,
    )
    fabric = Fabric(devices=1, precision=precision)
    trainer = Trainer(recipe, fabric, recipe.source.build("train"), recipe.target.build("train"), **how)
    source, target = images(scale)
    target = dataclasses.replace(target, label=None)
    trainer.images.next = lambda: (source.to(fabric.device, True), target.to(fabric.device, True))
    return lambda: trainer.step() and None


class Turns:
    """ADVENT's source loader: times each of its steps from one call to the next, and lets the others step between."""

    def __init__(self, batch: Batch, others: dict[str, Step]) -> None:
        self.item = batch.image, batch.label, None, None
        self.others = others
        self.ms: dict[str, list[float]] = {name: [] for name in (PEER, *others)}

    def __iter__(self) -> Iterator[tuple]:
        yield self.item  # the first step warms up
        while True:
            begin = _now()
            yield self.item
            self.ms[PEER].append(1000 * (_now() - begin))
            for name, step in self.others.items():
                begin = _now()
                step()
                self.ms[name].append(1000 * (_now() - begin))


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def run_advent(checkout: Path, scale: float, others: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """ADVENT's training for that many rounds; milliseconds of each step of it and of the others."""
    train_advent, get_deeplab_v2 = _imported(checkout)
    source, target = images(scale)
    training = types.SimpleNamespace(
        INPUT_SIZE_SOURCE=source.image.shape[:1:-1],
        INPUT_SIZE_TARGET=target.image.shape[:1:-1],
        TENSORBOARD_LOGDIR="",
        LEARNING_RATE=2.5e-4,
        MOMENTUM=0.9,
        WEIGHT_DECAY=5e-4,
        LEARNING_RATE_D=1e-4,
        MULTI_LEVEL=True,
        LAMBDA_SEG_MAIN=1.0,
        LAMBDA_SEG_AUX=0.1,
        LAMBDA_ADV_MAIN=1e-3,
        LAMBDA_ADV_AUX=2e-4,
        MAX_ITERS=100_000,
        POWER=0.9,
        SAVE_PRED_EVERY=100_000,
        EARLY_STOP=rounds + WARM + 1,
    )
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    settings = types.SimpleNamespace(TRAIN=training, GPU_ID=device, NUM_CLASSES=CLASSES)
    turns = Turns(source, others)
    unlabelled = iter(lambda: (target.image, None, None, None), None)
    with contextlib.redirect_stdout(io.StringIO()):
        train_advent(get_deeplab_v2(CLASSES, True), turns, unlabelled, settings)
    return {name: ms[WARM:] for name, ms in turns.ms.items()}


def _imported(checkout: Path) -> tuple[Any, Any]:
    """ADVENT's loop and the maker of its network. Raises `UserError` for a folder without them."""
    if not (checkout / "advent" / "domain_adaptation" / "train_UDA.py").exists():
        raise UserError(f"{checkout} is no checkout of ADVENT: it lacks advent/domain_adaptation/train_UDA.py.")
    os.environ["TQDM_DISABLE"] = "1"
    sys.path.insert(0, str(checkout))
    writer: Any = types.ModuleType("tensorboardX")
    writer.SummaryWriter = None  # imported there, and not used without a folder for it
    sys.modules.setdefault("tensorboardX", writer)
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *_: self
        torch.Tensor.get_device = lambda self: self.device
    from advent.domain_adaptation.train_UDA import train_advent
    from advent.model.deeplabv2 import get_deeplab_v2

    return train_advent, get_deeplab_v2


def peaks(ways: list[str], checkout: Path, scale: float) -> list[int]:
    """Bytes that training takes at most, each way in a process of its own; at once where they share a GPU alone."""
    with multiprocessing.get_context("spawn").Pool(len(ways) if torch.cuda.is_available() else 1, None, (), 1) as pool:
        return pool.starmap(_peak, [(way, checkout, scale) for way in ways], 1)


def _peak(way: str, checkout: Path, scale: float) -> int:
    before = _resident()
    if way == PEER:
        run_advent(checkout, scale, {}, 1)
    else:
        step = our_step(way, scale)
        for _ in range(3):
            step()
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return _resident() - before


def _resident() -> int:
    """The most bytes that this process has held, as Linux tells it; what `getrusage` tells is its parent's, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, metavar="PATH", help="of an unmodified ADVENT")
    parser.add_argument("--ways", nargs="+", default=["fp32"], help=f"of {', '.join(map(repr, WAYS))}")
    parser.add_argument("--scale", type=float, default=1.0, help="of the published sizes, 0..1 (default 1)")
    parser.add_argument("--rounds", type=int, default=7, help="in which all ways step once (default 7)")
    options = parser.parse_args()
    for way in options.ways:
        if way not in WAYS:
            raise unknown_name("way", way, WAYS)
    ours = {way: our_step(way, options.scale) for way in options.ways}
    ms = run_advent(options.checkout, options.scale, ours, options.rounds)
    found = dict(zip(ms, peaks(list(ms), options.checkout, options.scale), strict=True))
    results: list[dict[str, Any]] = []
    for way, times in ms.items():
        record = {
            "way": way,
            "ms": times,
            "peer_ms": ms[PEER],
            "peak": found[way],
            "scale": options.scale,
            "threads": torch.get_num_threads(),
            **environment(Fabric(devices=1).device),
        }
        results = keep(RESULTS, record, ("way", "device", "scale"))
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: one table a device and scale, each way against the loop that took turns with it."""
    parts = []
    for device, scale in dict.fromkeys((result["device"], result["scale"]) for result in results):
        own = [result for result in results if (result["device"], result["scale"]) == (device, scale)]
        peer = next(result for result in own if result["way"] == PEER)
        commits = ", ".join(sorted({short_commit(result["commit"]) for result in own}))
        lines = [
            f"{device}, {peer['threads']} threads; commits {commits}; sizes {scale:g} of the published ones.",
            "",
            "| step | ms, median (quartiles) | of ADVENT's | peak, GiB | of ADVENT's |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        for result in own:
            low, middle, high = statistics.quantiles(result["ms"], n=4, method="inclusive")
            ratio = middle / statistics.median(result["peer_ms"])
            lines.append(
                f"| {result['way']} | {middle:.0f} ({low:.0f} – {high:.0f}) | {ratio:.2f} | "
                f"{result['peak'] / 2**30:.2f} | {result['peak'] / peer['peak']:.2f} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


if __name__ == "__main__":
    exits_cleanly(main)
