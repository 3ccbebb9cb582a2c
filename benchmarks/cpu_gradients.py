"""Milliseconds of a convolution's backward pass on a CPU, by the library and as the toolkit takes it, in turns.

    python benchmarks/cpu_gradients.py [--rounds 7]

Layers are those of DeepLab-v2 on ResNet-101 at half the published sizes, of its discriminator of features, and of the
light network; channels-last memory, single precision, one thread.
"""

import argparse
import copy
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from records import keep
from torch import nn

from da_toolkit.errors import exits_cleanly
from da_toolkit.models.cpu_gradients import quicken
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit

RESULTS = Path(__file__).parent / "results" / "cpu_gradients.json"
LAYERS: dict[str, tuple[nn.Conv2d, tuple[int, int, int, int]]] = {
    "atrous classifier, 2048 to 19": (nn.Conv2d(2048, 19, 3, padding=6, dilation=6), (1, 2048, 45, 80)),
    "the same, dilated by 24": (nn.Conv2d(2048, 19, 3, padding=24, dilation=24), (1, 2048, 45, 80)),
    "dilated block, 512": (nn.Conv2d(512, 512, 3, padding=4, dilation=4), (1, 512, 45, 80)),
    "dilated block, 256": (nn.Conv2d(256, 256, 3, padding=2, dilation=2), (1, 256, 45, 80)),
    "plain block, 128": (nn.Conv2d(128, 128, 3, padding=1), (1, 128, 45, 80)),
    "plain block, 64": (nn.Conv2d(64, 64, 3, padding=1), (1, 64, 90, 160)),
    "dilated depthwise, 1152": (nn.Conv2d(1152, 1152, 5, padding=4, dilation=2, groups=1152), (4, 1152, 8, 12)),
}


def backward_ms(layer: nn.Conv2d, images: torch.Tensor) -> float:
    """Of gradients of the input and the weights."""
    output = layer(images)
    slope = torch.ones_like(output)
    begin = time.perf_counter()
    torch.autograd.grad(output, [images, layer.weight], slope)
    return 1000 * (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name, (plain, shape) in LAYERS.items():
        plain = plain.to(memory_format=torch.channels_last)
        quick = copy.deepcopy(plain)
        quicken(quick)
        images = torch.rand(shape).to(memory_format=torch.channels_last).requires_grad_()
        ms: dict[str, list[float]] = {"library": [], "toolkit": []}
        for number in range(options.rounds + 1):
            for way, layer in (("library", plain), ("toolkit", quick)):
                taken = backward_ms(layer, images)
                if number:  # the first round warms up
                    ms[way].append(taken)
        found[name] = ms
    print(table(keep(RESULTS, {"ms": found, **environment(torch.device("cpu"))}, ("device",))))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: of each kind of CPU medians, and the ratio."""
    return "\n\n".join(map(_table, results))


def _table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['device']}, one thread, commit {short_commit(result['commit'])}.",
        "",
        "| layer | library, ms | toolkit, ms | ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, ms in result["ms"].items():
        library, toolkit = (statistics.median(ms[way]) for way in ("library", "toolkit"))
        lines.append(f"| {name} | {library:.1f} | {toolkit:.1f} | {toolkit / library:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    exits_cleanly(main)
