"""What RPT costs: added time of a training step, seconds of a round's refresh, memory of clustering a full-size domain.

    python benchmarks/rpt_cost.py

Steps are those of `adv_rpt_gta --demo` with some constraints off, in turns in one run. Clustering is simulated for
3,000 images of 500 regions with 2,048 random features each, in a process of its own whose memory is watched.
"""

import argparse
import dataclasses
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablation import ORACLE, ROWS, overridden
from lightning.fabric import Fabric

from da_toolkit.data.superpixels import SuperpixelCache
from da_toolkit.errors import exits_cleanly
from da_toolkit.files import write_json
from da_toolkit.recipe import Schedule, find_recipe, load_recipe, rounds
from da_toolkit.recipe.demo import demo_version
from da_toolkit.regularizers.rpt.cluster import Cluster, assign_clusters
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit
from da_toolkit.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "rpt_cost.json"
BLOCK = 4  # steps timed in a row
IMAGES, REGIONS, DEPTH = 3000, 500, 2048


def times(turns: int) -> dict[str, dict[str, float]]:
    """Seconds of each row's refresh, in an empty cache, and milliseconds of its steps.

    Superpixels are made first, so the refresh of PC is finding them and the pass over the target, that of SL the
    training of the logic, and that of CC features and k-means besides; later rows find the clusters in the cache, as
    later runs do.
    """
    recipe = demo_version(load_recipe(find_recipe("adv_rpt_gta")))
    recipe = dataclasses.replace(recipe, schedule=Schedule(rounds(1, 10_000)))
    superpixels = recipe.method.superpixels
    assert superpixels is not None
    data = recipe.source.build("train"), recipe.target.build("train")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DA_TOOLKIT_CACHE"] = cache
        begin = time.perf_counter()
        SuperpixelCache(superpixels, recipe.target.size).survey(data[1])
        refresh = {"superpixels": time.perf_counter() - begin}
        trainers = {}
        for row, override in ROWS.items():
            if override.changes or row == ORACLE:
                continue  # they cost what "all" does
            trainers[row] = Trainer(overridden(recipe, override), Fabric(devices=1), *data)
            begin = time.perf_counter()
            trainers[row].begin(recipe.schedule.stages[0])
            refresh[row] = time.perf_counter() - begin
        return {"refresh_s": refresh, "step_ms": step_ms(trainers, turns)}


def step_ms(trainers: dict[str, Trainer], turns: int) -> dict[str, float]:
    """Median of one step; rows take turns in a changing order, so that a busy machine meets all alike."""
    found: dict[str, list[float]] = {row: [] for row in trainers}
    order = random.Random(0)
    for turn in range(turns + 1):
        for row in order.sample(list(trainers), len(trainers)):
            begin = time.perf_counter()
            for _ in range(BLOCK):
                trainers[row].step()
            if turn:  # the first one warms up
                found[row].append(1000 * (time.perf_counter() - begin) / BLOCK)
    return {row: statistics.median(values) for row, values in found.items()}


def cluster_simulation() -> None:
    """Cluster random features of the size of Cityscapes train's; runs in the process whose memory is watched."""

    def features() -> Iterator[tuple[int, np.ndarray]]:
        for image in range(IMAGES):
            rows = np.random.default_rng(image).standard_normal((REGIONS, DEPTH), dtype=np.float32)
            yield image, rows / np.linalg.norm(rows, axis=1, keepdims=True)

    with tempfile.TemporaryDirectory() as folder:
        found = assign_clusters(Cluster(), features, [REGIONS] * IMAGES, Path(folder), seed=0)
    assert len(found) == IMAGES * REGIONS


def simulated() -> dict[str, float]:
    """Seconds, and the largest anonymous memory of the whole process, imports included, file pages excluded, MiB."""
    command = [sys.executable, __file__, "--simulate"]
    begin = time.perf_counter()
    process = subprocess.Popen(command)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _anonymous_mb(process.pid))
        time.sleep(0.1)
    if process.returncode:
        raise RuntimeError("the simulation of clustering failed")
    table_mb = IMAGES * REGIONS * DEPTH * 4 / 2**20
    return {"seconds": time.perf_counter() - begin, "peak_mb": peak, "features_mb": table_mb}


def _anonymous_mb(process: int) -> float:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssAnon")), 0.0)


def table(result: dict[str, Any]) -> str:
    """Markdown: steps with their ratio to the same method without RPT, refresh, and the simulation."""
    base = result["step_ms"]["none"]
    lines = ["| RPT | step, median ms | ratio | refresh, s |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {row} | {value:.0f} | {value / base:.3f} | {result['refresh_s'][row]:.1f} |"
        for row, value in result["step_ms"].items()
    ]
    cluster = result["clustering"]
    return "\n".join(
        [
            f"`adv_rpt_gta --demo`, {result['device']}, {result['threads']} threads, commit "
            f"{short_commit(result['commit'])}. Superpixels of the 400 target images: "
            f"{result['refresh_s']['superpixels']:.0f} s, once.",
            "",
            *lines,
            "",
            f"Clustering {IMAGES:,} images of {REGIONS} regions with {DEPTH:,} features "
            f"({cluster['features_mb'] / 1024:.1f} GiB of features): peak memory {cluster['peak_mb']:,.0f} MiB, "
            f"{cluster['seconds'] / 60:.1f} minutes, the features' own making included.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20, help=f"blocks of {BLOCK} steps of each row (default 20)")
    parser.add_argument("--simulate", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.simulate:
        return cluster_simulation()
    result: dict[str, Any] = {**times(options.turns), "clustering": simulated(), "threads": torch.get_num_threads()}
    result |= environment(Fabric(devices=1).device)
    write_json(RESULTS, result)
    print(table(result))
    return None


if __name__ == "__main__":
    exits_cleanly(main)
