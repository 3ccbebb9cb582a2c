"""Cluster consistency: regions that look alike, wherever they are, should agree on a category."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.data.batch import Batch
from da_toolkit.data.labels import IGNORE
from da_toolkit.errors import UserError
from da_toolkit.models.backbones import aligns_corners
from da_toolkit.models.grid import nearest
from da_toolkit.ranks.parallel import from_main, is_main, streamed_in_turn
from da_toolkit.regularizers.rpt.regions import RegionTable, selected_labels
from da_toolkit.waiting import interruptible, whole

_CHUNK = 4096  # rows that a scikit-learn step holds at once
_FIT = 100_000  # regions that the projection is fitted on
_PASSES = 2  # over the features, in `assign_clusters`: one fits the projection, one writes what it gives


@dataclass(frozen=True)
class Cluster:
    """Cluster-based consistency (Zhang et al., CVPR 2020; selection and defaults are our reconstruction)."""

    weight: float = 0.5
    """Weight of the loss; 0 = off."""
    threshold: float = 0.9
    """A cluster is selected when its purity, the winning share of its pixels' votes, exceeds this, 0..1."""
    levels: int = 3
    """Backbone stages, counted from the last, whose features describe a region; 1 = the last alone, as recalled of the
    paper. Three make much purer clusters of source regions (`benchmarks/rpt_clusters.py`, by source labels)."""
    clusters: int = 512
    """k of k-means; at most the number of regions."""
    components: int = 128
    """PCA dimensions of the region features."""
    share: float = 0.5
    """At least this share of each category's regions is selected, the surest ones, 0..1; 0 = by the threshold alone.
    Without it the easy categories alone are selected, and the network forgets the others."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UserError(f"cluster.threshold lies in 0..1, got {self.threshold}.")
        if not 0 <= self.share <= 1:
            raise UserError(f"cluster.share lies in 0..1, got {self.share}.")
        for name in ("levels", "clusters", "components"):
            if getattr(self, name) < 1:
                raise UserError(f"cluster.{name} must be at least 1, got {getattr(self, name)}.")

    def labels(self, table: RegionTable, assignment: Tensor) -> Tensor:
        """uint8 [total+1]: the frozen label of each region's row, 255 where its cluster is not selected."""
        label, purity = cluster_votes(table, assignment)
        return selected_labels(label[assignment], purity[assignment], self.threshold, self.share)


def cluster_votes(table: RegionTable, assignment: Tensor) -> tuple[Tensor, Tensor]:
    """Majority vote of each cluster over its regions' dominant categories, weighted by pixels.

    Args:
        assignment: int64 [total], the cluster of each region.

    Returns:
        uint8 [K] labels, 255 for a cluster none of whose regions was seen; float32 [K] purity, 0..1.
    """
    dominant, pixels = table.dominant(), table.votes[:-1].sum(1)
    count = int(assignment.max()) + 1
    votes = torch.zeros(count, table.num_classes + 1, device=dominant.device, dtype=torch.float64)
    column = dominant.long().clamp(max=table.num_classes)  # unseen regions vote in a column of their own
    votes.view(-1).index_add_(0, assignment * (table.num_classes + 1) + column, pixels.double())
    votes = votes[:, :-1]
    best, label = votes.max(1)
    purity = best / votes.sum(1).clamp(min=1)
    return label.where(best > 0, IGNORE).byte(), purity.float()


def region_features(features: Tensor, regions: Tensor, count: int, align_corners: bool = False) -> Tensor:
    """float32 [count,D]: the mean over each region's pixels of the feature map brought to its size, length 1.

    The map is enlarged by nearest neighbour, but never built: cells are summed by how many pixels of a region they
    cover. A region without pixels is 0.

    Args:
        features: [D,h,w] of one image.
        regions: int [H,W], numbers 0..count-1, -1 = none.
        align_corners: whether those of the map lie on those of the image.
    """
    depth, small_height, small_width = features.shape
    height, width = regions.shape
    device = regions.device
    row = nearest(height, small_height, align_corners, device)
    column = nearest(width, small_width, align_corners, device)
    cell = (row[:, None] * small_width + column[None]).flatten()
    region = regions.flatten().long()
    inside = region >= 0
    pairs, pixels = torch.unique(region[inside] * (small_height * small_width) + cell[inside], return_counts=True)
    owner, cells = pairs // (small_height * small_width), pairs % (small_height * small_width)
    parts = features.flatten(1).t().float()[cells] * pixels[:, None]
    return F.normalize(parts.new_zeros(count, depth).index_add_(0, owner, parts), dim=1)


FeaturePass = Callable[[], Iterable[tuple[int, np.ndarray]]]
"""One pass over the domain: (image index, features float32 [regions of the image, D])."""


def feature_pass(
    network: nn.Module, batches: Iterable[Batch], counts: Sequence[int] | dict[int, int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Region features of every image, from a frozen network's levels side by side, each counting the same.

    `batches` carry regions and are not augmented.
    """
    aligned = aligns_corners(network)
    with torch.inference_mode():
        for batch in batches:
            assert batch.regions is not None
            levels = network(batch.image)
            for image, (index, regions) in enumerate(zip(batch.index.tolist(), batch.regions, strict=True)):
                parts = [region_features(maps[image], regions, counts[index], aligned) for maps in levels]
                yield index, (torch.cat(parts, 1) / len(parts) ** 0.5).cpu().numpy()


def shared_feature_pass(
    network: nn.Module, batches: Iterable[Batch], counts: Sequence[int] | dict[int, int]
) -> Iterator[tuple[int, np.ndarray]]:
    """`feature_pass` over batches dealt to the ranks in turn: rank 0 gets those of all images, in their first order."""
    own = (list(feature_pass(network, [batch], counts)) for batch in batches)
    for found in streamed_in_turn(own):
        yield from found


def assign_clusters(settings: Cluster, features: FeaturePass, counts: list[int], folder: Path, seed: int) -> np.ndarray:
    """int64 [total]: the cluster of every region.

    PCA is fitted on the regions of a random share of the images in a first pass; a second one writes the projected
    features to a memory-mapped file in `folder`, over which mini-batch k-means runs in chunks: memory does not grow
    with the number of images. With several processes rank 0 does this on features that all of them make, and the
    others get the result.
    """
    if not is_main():
        for _ in range(_PASSES):
            for _ in features():
                pass  # it yields on rank 0, which fits and writes
        return from_main(lambda: np.empty(0, np.int64))
    from sklearn.cluster import MiniBatchKMeans

    total = sum(counts)
    project = _fit_projection(settings, features, total, seed)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        rows: np.ndarray | None = None
        for index, found in features():
            small = project(found)
            if rows is None:
                rows = np.lib.format.open_memmap(
                    Path(scratch) / "features.npy", mode="w+", dtype=np.float32, shape=(total, small.shape[1])
                )
            rows[offsets[index] : offsets[index + 1]] = small
        assert rows is not None
        kmeans = MiniBatchKMeans(
            n_clusters=min(settings.clusters, total), batch_size=_CHUNK, random_state=seed, n_init=1
        )
        order = np.random.default_rng(seed)
        for _ in range(max(1, min(5, 2_000_000 // total))):
            for chunk in _chunks(order.permutation(total), kmeans.n_clusters):
                interruptible(partial(kmeans.partial_fit, rows[np.sort(chunk)]))
        parts = [kmeans.predict(rows[start : start + _CHUNK]) for start in range(0, total, _CHUNK)]
        del rows
    return from_main(lambda: np.concatenate(parts).astype(np.int64))


def _chunks(order: np.ndarray, least: int) -> Iterator[np.ndarray]:
    """Parts of `_CHUNK`, the last one joined to its neighbour where k-means would find too few rows in it."""
    size = max(_CHUNK, least)
    starts = [*range(0, max(1, len(order) - least + 1), size)]
    for number, start in enumerate(starts):
        yield order[start : None if number == len(starts) - 1 else starts[number + 1]]


def _fit_projection(
    settings: Cluster, features: FeaturePass, total: int, seed: int
) -> Callable[[np.ndarray], np.ndarray]:
    """PCA to `components`, fitted on about `_FIT` regions; the identity where there is nothing to reduce."""
    from sklearn.decomposition import IncrementalPCA

    share = min(1.0, _FIT / total)
    keep = np.random.default_rng(seed)
    pca: IncrementalPCA | None = None
    held: list[np.ndarray] = []
    for _, found in features():
        chosen = found if share == 1 else found[keep.random(len(found)) < share]
        held.append(chosen)
        depth = found.shape[1]
        least = min(settings.components, depth)
        if sum(map(len, held)) >= max(_CHUNK, least):
            pca = pca or IncrementalPCA(least)
            interruptible(partial(pca.partial_fit, np.concatenate(held)))
            held = []
    if pca is None:
        rest = np.concatenate(held)
        components = min(settings.components, *rest.shape)
        pca = IncrementalPCA(components)
        interruptible(partial(pca.fit, rest))
    return lambda rows: pca.transform(rows).astype(np.float32)


def cluster_key(settings: Cluster, images: list[str], features: str, seed: int) -> str:
    """Name of the cached assignment: changes with any image, any setting that matters, and the feature network."""
    kept = {name: value for name, value in asdict(settings).items() if name not in ("weight", "threshold", "share")}
    text = json.dumps([1, kept, images, features, seed], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def load_assignment(file: Path, total: int) -> np.ndarray | None:
    """The cached assignment, or none where it is missing or damaged."""
    try:
        with np.load(file) as stored:
            found = stored["assignment"]
    except (OSError, ValueError, KeyError, EOFError):
        return None
    except Exception as error:  # zipfile.BadZipFile and zlib.error: a half-written archive
        if type(error).__name__ not in ("BadZipFile", "error"):
            raise
        return None
    return found if found.shape == (total,) else None


def save_assignment(file: Path, assignment: np.ndarray) -> None:
    """Write whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    with whole():
        with temporary.open("wb") as opened:
            np.savez_compressed(opened, assignment=assignment)
        temporary.replace(file)
