"""Superpixels of 1024x512 images: by scikit-image in one process, and by the toolkit on all cores, cache included.

    python benchmarks/superpixels.py [--images N] [--rounds 5]

Ways take turns. The toolkit works on cells of 2 x 2 pixels at this size, and asks SLIC again where it found too few or
too many regions, so that images end with about as many as wanted; "calls" is how often, on average. Purity tells how
good regions are: the share of pixels that have the commonest true class of their region. Street images, 500 regions.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from skimage.segmentation import slic
from ways import rows

from da_toolkit.data import Streets
from da_toolkit.data.domain import DomainData
from da_toolkit.data.labels import IGNORE
from da_toolkit.data.superpixels import SuperpixelCache, Superpixels
from da_toolkit.data.transforms import resized_label
from da_toolkit.errors import exits_cleanly
from da_toolkit.files import write_json
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit
from da_toolkit.workers import usable_cores

RESULTS = Path(__file__).parent / "results" / "superpixels.json"
SIZE = (512, 1024)
WANTED = Superpixels()


def regions_by_scikit_image(image: np.ndarray) -> np.ndarray:
    """int64 [H,W], numbered from 0."""
    return slic(image, WANTED.count, WANTED.compactness, sigma=WANTED.sigma, start_label=0, channel_axis=-1)


def by_scikit_image(data: DomainData) -> None:
    for index in range(len(data)):
        regions_by_scikit_image(data.image(index))


def by_toolkit(data: DomainData, cores: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        SuperpixelCache(WANTED, SIZE, Path(folder)).survey(data, cores)


def calls(data: DomainData) -> float:
    """How often SLIC is asked for an image, on average."""
    asked = []
    own = Superpixels._slic
    with patch.object(Superpixels, "_slic", lambda *words: asked.append(1) or own(*words)):
        for index in range(len(data)):
            WANTED.compute(data.image(index))
    return len(asked) / len(data)


def quality(data: DomainData, regions: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """Of the regions of all images: how many an image, and their purity in percent."""
    found, pure, known = 0, 0, 0
    for index in range(len(data)):
        made, label = regions(data.image(index)), resized_label(data.label(index), SIZE)
        counts = np.zeros((int(made.max()) + 1, IGNORE + 1), dtype=np.int64)
        np.add.at(counts, (made, label), 1)
        found += len(counts)
        pure, known = pure + int(counts[:, :IGNORE].max(1).sum()), known + int(counts[:, :IGNORE].sum())
    return {"regions": found / len(data), "purity": 100 * pure / known}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8 * usable_cores(), help="by default 8 a core")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = Streets(size=SIZE, render_size=SIZE, frames=options.images, look="camera").build("train")
    cores = usable_cores()
    ways = {
        "scikit-image, one process": partial(by_scikit_image, data),
        **{f"the toolkit, {count}": partial(by_toolkit, data, count) for count in sorted({1, cores})},
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, run in ways.items():
            begin = time.perf_counter()
            run()
            seconds[way].append((time.perf_counter() - begin) / len(data))
    result = {
        **{"size": SIZE, "images": len(data), "seconds": seconds, "calls": calls(data), "load": os.getloadavg()[0]},
        "quality": {
            "scikit-image": quality(data, regions_by_scikit_image),
            "the toolkit": quality(data, WANTED.compute),
        },
        **environment(torch.device("cpu")),
    }
    write_json(RESULTS, result)
    print(table(result))


def table(result: dict[str, Any]) -> str:
    """Markdown: seconds an image, and of scikit-image's."""
    lines = [
        f"{result['images']} images of {result['size'][1]}x{result['size'][0]}, {WANTED.count} regions, medians and "
        f"quartiles; the toolkit asks SLIC {result['calls']:.1f} times an image. {result['device']}, 1-minute load of "
        f"the machine {result['load']:.1f} on {result['cpus']} CPUs, commit {short_commit(result['commit'])}. "
        + "; ".join(
            f"regions of {whose}: {found['regions']:.0f} an image, purity {found['purity']:.1f} %"
            for whose, found in result["quality"].items()
        )
        + ".",
        "",
        "| way, processes | seconds an image | of scikit-image's |",
        "| --- | ---: | ---: |",
    ]
    return "\n".join([*lines, *rows(result["seconds"], 2)])


if __name__ == "__main__":
    exits_cleanly(main)
