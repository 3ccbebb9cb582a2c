"""How pure clusters of source regions are, by the number of backbone stages that describe a region.

    python benchmarks/rpt_clusters.py --data-root ../shared/data/carla2camvid

Settings of RPT's clusters are chosen by this: it reads source labels only, which adaptation has anyway.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric

from da_toolkit.data.labels import IGNORE
from da_toolkit.data.loader import Loading
from da_toolkit.data.samples import Samples
from da_toolkit.data.superpixels import SuperpixelCache
from da_toolkit.data.transforms import Augmentation, resized_label
from da_toolkit.errors import exits_cleanly
from da_toolkit.files import write_json
from da_toolkit.recipe import find_recipe, load_recipe
from da_toolkit.regularizers.rpt.cluster import assign_clusters, feature_pass
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit

RESULTS = Path(__file__).parent / "results" / "rpt_clusters.json"
LEVELS, CLUSTERS = (1, 2, 3, 4), (128, 256, 512)


def purities(data_root: Path, images: int) -> tuple[float, dict[str, dict[str, float]]]:
    """Percent: purity of the regions, and of the clusters by levels and k."""
    recipe = load_recipe(find_recipe("adv_rpt_camvid"))
    (rpt,) = recipe.method.regularizers
    data, size, scale = recipe.source.build("train", data_root), recipe.source.size, 2 / 3  # as the target is scored
    cache = SuperpixelCache(rpt.regions, size)
    chosen = np.random.default_rng(0).permutation(len(data))[:images].tolist()
    counts, truth = [], []
    for index in chosen:
        regions = cache(data.image(index))
        label = resized_label(data.label(index), size)
        known = label != IGNORE
        counts.append(int(regions.max()) + 1)
        own = np.zeros((counts[-1], len(recipe.source.label_space)), dtype=np.int64)
        np.add.at(own, (regions[known], label[known]), 1)
        truth.append(own)
    votes = np.concatenate(truth)
    samples = Samples(data, (round(size[0] * scale), round(size[1] * scale)), Augmentation(), False, 0, cache)
    place = {index: number for number, index in enumerate(chosen)}
    found: dict[str, dict[str, float]] = {}
    for levels in LEVELS:
        network = recipe.model.pretrained(levels)
        per_image = {index: count for index, count in zip(chosen, counts, strict=True)}
        batches = (batch.to(torch.device("cpu")) for batch in Loading(samples, [[(0, i)] for i in chosen], 0))
        kept = [(place[i], rows) for i, rows in feature_pass(network, batches, per_image)]
        for k in CLUSTERS:
            settings = dataclasses.replace(rpt.cluster, clusters=k)
            with tempfile.TemporaryDirectory() as folder:
                cluster = assign_clusters(settings, lambda kept=kept: iter(kept), counts, Path(folder), seed=0)
            together = np.zeros((k, votes.shape[1]), dtype=np.int64)
            np.add.at(together, cluster, votes)
            found.setdefault(str(levels), {})[str(k)] = float(100 * together.max(1).sum() / together.sum())
    return float(100 * votes.max(1).sum() / votes.sum()), found


def table(result: dict[str, Any]) -> str:
    """Markdown: a row for each number of stages, a column for each k."""
    lines = [
        f"{result['images']} CARLA images, purity of their regions {result['region_purity']:.1f} %, commit "
        f"{short_commit(result['commit'])}.",
        "",
        "| last stages | " + " | ".join(f"k = {k}" for k in CLUSTERS) + " |",
        "| --- |" + " ---: |" * len(CLUSTERS),
    ]
    lines += [
        f"| {levels} | " + " | ".join(f"{row[str(k)]:.1f} %" for k in CLUSTERS) + " |"
        for levels, row in result["cluster_purity"].items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--images", type=int, default=100)
    options = parser.parse_args()
    region_purity, found = purities(options.data_root, options.images)
    result = {"images": options.images, "region_purity": region_purity, "cluster_purity": found}
    result |= environment(Fabric(devices=1).device)
    write_json(RESULTS, result)
    print(table(result))


if __name__ == "__main__":
    exits_cleanly(main)
