"""Milliseconds of a convolution's forward and backward pass on a CPU, by its library and as trained here, in turns.

    python benchmarks/cpu_convolutions.py [--rounds 7]
    ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/cpu_convolutions.py

Layers are those of DeepLab-v2 on ResNet-101 at half the published sizes, of its discriminator of features, and of the
light network; channels-last memory, one thread. The second command computes as a CPU without AVX-512 does.
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
from da_toolkit.models.cpu_convolutions import quicken
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit

RESULTS = Path(__file__).parent / "results" / "cpu_convolutions.json"
LAYERS: dict[str, tuple[nn.Conv2d, tuple[int, int, int, int]]] = {
    "atrous classifier, 2048 to 19": (nn.Conv2d(2048, 19, 3, padding=6, dilation=6), (1, 2048, 45, 80)),
    "the same, dilated by 24": (nn.Conv2d(2048, 19, 3, padding=24, dilation=24), (1, 2048, 45, 80)),
    "dilated block, 512": (nn.Conv2d(512, 512, 3, padding=4, dilation=4), (1, 512, 45, 80)),
    "dilated block, 256": (nn.Conv2d(256, 256, 3, padding=2, dilation=2), (1, 256, 45, 80)),
    "plain block, 128": (nn.Conv2d(128, 128, 3, padding=1), (1, 128, 45, 80)),
    "plain block, 64": (nn.Conv2d(64, 64, 3, padding=1), (1, 64, 90, 160)),
    "dilated depthwise, 1152": (nn.Conv2d(1152, 1152, 5, padding=4, dilation=2, groups=1152), (4, 1152, 8, 12)),
}
PRECISIONS = {"single": torch.float32, "bfloat16": torch.bfloat16}


def ms(layer: nn.Conv2d, images: torch.Tensor, precision: torch.dtype) -> float:
    """Of the output, and of gradients of the input and the weights."""
    begin = time.perf_counter()
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        output = layer(images)
    torch.autograd.grad(output, [images, layer.weight], torch.ones_like(output))
    return 1000 * (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for name, (plain, shape) in LAYERS.items():
        plain = plain.to(memory_format=torch.channels_last)
        quick = copy.deepcopy(plain)
        quicken(quick)
        for precision, dtype in PRECISIONS.items():
            images = torch.rand(shape).to(dtype, memory_format=torch.channels_last).requires_grad_()
            times: dict[str, list[float]] = {"library": [], "toolkit": []}
            for number in range(options.rounds + 1):
                for way, layer in (("library", plain), ("toolkit", quick)):
                    taken = ms(layer, images, dtype)
                    if number:  # the first round warms up
                        times[way].append(taken)
            found.append({"layer": name, "precision": precision, "ms": times})
    print(table(keep(RESULTS, {"layers": found, **environment(torch.device("cpu"))}, ("device",))))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: of each kind of CPU medians, and the ratio."""
    return "\n\n".join(map(_table, results))


def _table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['device']}, one thread, commit {short_commit(result['commit'])}.",
        "",
        "| layer | precision | library, ms | toolkit, ms | ratio |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for row in result["layers"]:
        library, toolkit = (statistics.median(row["ms"][way]) for way in ("library", "toolkit"))
        cells = row["layer"], row["precision"], f"{library:.1f}", f"{toolkit:.1f}", f"{toolkit / library:.2f}"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    exits_cleanly(main)
