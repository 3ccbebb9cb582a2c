"""A training step of the toolkit against the training loop of somebody else's checkout, in turns, in one process.

That loop asks its loader for the next source batch when a step is over, and there the toolkit's steps take their turns:
A B A B. Peaks are those of processes of their own: the most that the GPU's allocator holds, or on a CPU how far the
process grows beyond what it is before it builds its network. Operations are those of the peer's step by PyTorch's
count: a network of the same sizes on the same images. Loops that want a GPU are answered with the CPU where there is
none; nothing else of them changes.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from records import keep
from torch.utils.flop_counter import FlopCounterMode

from da_toolkit.data.batch import Batch
from da_toolkit.errors import unknown_name
from da_toolkit.recipe import Recipe
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit
from da_toolkit.training.trainer import Trainer

CLASSES = 19
WARM = 2  # rounds that are not counted
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "fp32": ("32-true", {}),
    "fp32, recompute cheap": ("32-true", {"recompute": "cheap"}),
    "fp32, recompute blocks": ("32-true", {"recompute": "blocks"}),
    "fp32, compile": ("32-true", {"compile": True}),
    "bf16": ("bf16-mixed", {}),
    "bf16, recompute cheap": ("bf16-mixed", {"recompute": "cheap"}),
    "bf16, compile": ("bf16-mixed", {"compile": True}),
}
Step = Callable[[], None]


@dataclass(frozen=True)
class Peer:
    """Whose loop it is, and what takes turns with it."""

    name: str
    results: Path
    recipe: Callable[[], Recipe]
    images: Callable[[float], tuple[Batch, Batch]]
    """The batch of each domain at that share of the published sizes."""
    imported: Callable[[Path], Any]
    """What the checkout's training needs, as modules or functions."""
    run: Callable[[Path, float, "Turns", int], None]
    """The checkout's training at that share of the sizes, for that many steps; it takes its source batches from the
    turns."""

    def our_step(self, way: str, scale: float) -> Step:
        """A step of the toolkit's trainer on the same images: losses, guard, optimisers, discriminators."""
        precision, how = WAYS[way]
        recipe = self.recipe()
        fabric = Fabric(devices=1, precision=precision)
        trainer = Trainer(recipe, fabric, recipe.source.build("train"), recipe.target.build("train"), **how)
        source, target = self.images(scale)
        trainer.images.next = lambda: (source.to(fabric.device, True), target.to(fabric.device, True))

        def step() -> None:
            # Peers turn `benchmark` on for the whole process; and `flags` turns cuDNN off unless told not to.
            with torch.backends.cudnn.flags(enabled=True, benchmark=False):
                trainer.step()

        return step

    def turns(self, checkout: Path, scale: float, ways: Sequence[str], rounds: int) -> dict[str, list[float]]:
        """Milliseconds of each step of the loop, and of ours by way."""
        found = Turns({way: self.our_step(way, scale) for way in ways}, self.name)
        self.run(checkout, scale, found, rounds + WARM + 2)
        return {name: ms[WARM : WARM + rounds] for name, ms in found.ms.items()}

    def costs(self, way: str, checkout: Path, scale: float) -> dict[str, int]:
        """Bytes that training takes at most in this process; for the peer's way the operations of a step, too."""
        if way != self.name:
            before = resident()
            step = self.our_step(way, scale)
            for _ in range(3):
                step()
            return {"peak": _held(before)}
        self.imported(checkout)
        before = resident()
        self.run(checkout, scale, Turns({}, self.name), 3)
        peak = _held(before)
        with FlopCounterMode(display=False) as counter:
            self.run(checkout, scale, Turns({}, self.name), 1)
        return {"peak": peak, "flops": counter.get_total_flops()}


class Turns:
    """What is given to a loop's source loader: times each of its steps from one batch to the next, and lets the others
    step between."""

    def __init__(self, others: dict[str, Step], name: str) -> None:
        self.others, self.name = others, name
        self.ms: dict[str, list[float]] = {way: [] for way in (name, *others)}

    def batches(self, batch: Any) -> Iterator[Any]:
        """The same batch again and again."""
        yield batch  # the first step warms up
        while True:
            begin = _now()
            yield batch
            self.ms[self.name].append(1000 * (_now() - begin))
            for way, step in self.others.items():
                begin = _now()
                step()
                self.ms[way].append(1000 * (_now() - begin))


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def speed_of_products(precision: torch.dtype) -> float:
    """Operations a second of a large matrix product, in TF32 where convolutions are: the best of some."""
    gpu = torch.cuda.is_available()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    side = 8192 if gpu else 2048
    factor = torch.rand(side, side, dtype=precision, device="cuda" if gpu else "cpu")
    times = []
    for _ in range(8):
        begin = _now()
        factor @ factor
        times.append(_now() - begin)
    return 2 * side**3 / min(times)


def _held(before: int) -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else resident() - before


def resident() -> int:
    """The most bytes that this process has held, as Linux tells it; what `getrusage` tells is its parent's, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def random_batch(images: int, size: tuple[int, int], scale: float, labelled: bool) -> Batch:
    """Random images at that share of `size`, in the memory that loaders hand over."""
    generator = torch.Generator().manual_seed(0)
    height, width = (round(side * scale / 8) * 8 for side in size)
    label = torch.randint(0, CLASSES, (images, height, width), generator=generator) if labelled else None
    given = torch.rand(images, 3, height, width, generator=generator), label, torch.arange(images)
    pinned = torch.cuda.is_available()
    return Batch(*(one.pin_memory() if pinned and one is not None else one for one in given))


def without_gpu() -> None:
    """Calls that ask for a GPU are answered with the CPU, where there is none."""
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *_: self
        torch.nn.Module.cuda = lambda self, *_: self
        torch.Tensor.get_device = lambda self: self.device


def main(peer: Peer, told: str | None) -> None:
    """Time, measure the peaks, keep the records and print the table."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, metavar="PATH", help="an unmodified checkout")
    parser.add_argument("--ways", nargs="+", default=["fp32"], help=f"of {', '.join(map(repr, WAYS))}")
    parser.add_argument("--scale", type=float, default=1.0, help="of the published sizes, 0..1 (default 1)")
    parser.add_argument("--rounds", type=int, default=7, help="in which all ways step once (default 7)")
    options = parser.parse_args()
    for way in options.ways:
        if way not in WAYS:
            raise unknown_name("way", way, WAYS)
    ms = peer.turns(options.checkout, options.scale, options.ways, options.rounds)
    together = len(ms) if torch.cuda.is_available() else 1  # where processes do not share memory they share the GPU
    with multiprocessing.get_context("spawn").Pool(together, None, (), 1) as pool:
        found = pool.starmap(peer.costs, [(way, options.checkout, options.scale) for way in ms], 1)
    results: list[dict[str, Any]] = []
    for (way, times), costs in zip(ms.items(), found, strict=True):
        precision = torch.bfloat16 if way.startswith("bf16") else torch.float32
        record = {
            **{"way": way, "ms": times, "peer": peer.name, "peer_ms": ms[peer.name]},
            **{"peak": costs["peak"], "flops": found[0]["flops"]},
            **{"products": speed_of_products(precision), "scale": options.scale, "threads": torch.get_num_threads()},
            **environment(Fabric(devices=1).device),
        }
        results = keep(peer.results, record, ("way", "device", "scale", "threads"))
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: one table a device and scale, each way against the loop that took turns with it. Utilisation is of what
    a large matrix product reaches."""
    parts = []
    for device, scale in dict.fromkeys((result["device"], result["scale"]) for result in results):
        own = [result for result in results if (result["device"], result["scale"]) == (device, scale)]
        peer = next(result for result in own if result["way"] == result["peer"])
        commits = ", ".join(sorted({short_commit(result["commit"]) for result in own}))
        of_it = f"of {peer['peer'].split()[0]}"
        lines = [
            f"{device}, {peer['threads']} threads; commits {commits}; sizes {scale:g} of the published ones.",
            "",
            f"| step | ms, median (quartiles) | {of_it} | peak, GiB | {of_it} | TFLOP | utilisation |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for result in [peer, *(other for other in own if other is not peer)]:
            low, middle, high = statistics.quantiles(result["ms"], n=4, method="inclusive")
            ratio = middle / statistics.median(result["peer_ms"])
            lines.append(
                f"| {result['way']} | {middle:.0f} ({low:.0f} – {high:.0f}) | {ratio:.2f} | "
                f"{result['peak'] / 2**30:.2f} | {result['peak'] / peer['peak']:.2f} | {result['flops'] / 1e12:.2f} | "
                f"{100 * result['flops'] / (middle / 1000) / result['products']:.0f} % |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
