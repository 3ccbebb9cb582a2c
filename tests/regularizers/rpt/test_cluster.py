"""Clusters: features averaged exactly, votes weighted by pixels, the same clusters for the same seed."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from da_toolkit.data.labels import IGNORE
from da_toolkit.regularizers.rpt.cluster import (
    Cluster,
    assign_clusters,
    cluster_key,
    cluster_votes,
    load_assignment,
    region_features,
    save_assignment,
)
from da_toolkit.regularizers.rpt.regions import RegionRows, RegionTable


def blobs(counts, seed=0, kinds=3, depth=20):
    """A feature pass whose regions come from `kinds` far-apart directions, and the kind of each region."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(kinds, depth))
    truth = [rng.integers(0, kinds, count) for count in counts]
    found = [(centers[t] + 0.05 * rng.normal(size=(len(t), depth))).astype(np.float32) for t in truth]
    found = [f / np.linalg.norm(f, axis=1, keepdims=True) for f in found]
    return lambda: iter(enumerate(found)), np.concatenate(truth)


@pytest.mark.parametrize("shape", [(12, 20), (13, 17)])
def test_region_features_are_means_of_the_enlarged_map(shape):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 3, 4, generator=generator)
    regions = torch.randint(-1, 6, shape, generator=generator)
    regions[regions == 4] = 5  # region 4 is empty
    large = features[:, torch.arange(shape[0]) * 3 // shape[0]][:, :, torch.arange(shape[1]) * 4 // shape[1]]
    found = region_features(features, regions.int(), 6)
    for region in range(6):
        inside = regions == region
        if not inside.any():
            assert (found[region] == 0).all()
            continue
        torch.testing.assert_close(found[region], F.normalize(large[:, inside].mean(1), dim=0))


def test_regions_of_a_kind_share_clusters_and_the_seed_decides(tmp_path):
    counts = [400, 300, 500]
    features, truth = blobs(counts)
    settings = Cluster(clusters=6, components=8)
    first = assign_clusters(settings, features, counts, tmp_path, seed=3)
    assert first.shape == truth.shape and first.max() < 6
    for cluster in np.unique(first):
        assert len(np.unique(truth[first == cluster])) == 1
    assert (assign_clusters(settings, features, counts, tmp_path, seed=3) == first).all()
    assert (assign_clusters(settings, features, counts, tmp_path, seed=4) != first).any()
    assert not list(tmp_path.iterdir())  # nothing of the memory-mapped file is left


def test_images_out_of_order_land_in_their_own_rows(tmp_path):
    counts = [40, 30, 50]
    features, _ = blobs(counts)
    backwards = lambda: iter(list(features())[::-1])  # noqa: E731
    settings = Cluster(clusters=3, components=8)
    one = assign_clusters(settings, features, counts, tmp_path, 0)
    other = assign_clusters(settings, backwards, counts, tmp_path, 0)
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    assert len(pairs) == 3  # the same clusters, up to their numbers


def test_fewer_regions_than_clusters_and_than_components(tmp_path):
    features, _ = blobs([3, 2])
    assignment = assign_clusters(Cluster(), features, [3, 2], tmp_path, 0)
    assert sorted(assignment.tolist()) == [0, 1, 2, 3, 4]


@pytest.fixture
def table():
    """Regions of one image: 0 and 1 say class 2 (6 + 2 pixels), 2 says class 0 (4), 3 is unseen."""
    table = RegionTable(RegionRows([4], torch.device("cpu")), 3)
    regions = torch.tensor([[[0] * 6 + [1] * 2 + [2] * 4]], dtype=torch.int32)
    decided = torch.tensor([2] * 5 + [1] + [2] * 2 + [0] * 4)
    table.add(torch.tensor([0]), regions, F.one_hot(decided, 3).float().t().view(1, 3, 1, 12))
    return table


def test_votes_are_dominant_categories_weighted_by_pixels(table):
    label, purity = cluster_votes(table, torch.tensor([0, 0, 0, 1]))
    assert label.tolist() == [2, IGNORE]
    assert purity[0] == pytest.approx(8 / 12) and purity[1] == 0
    assert Cluster(threshold=0.6, share=0).labels(table, torch.tensor([0, 0, 0, 1])).tolist() == [
        2,
        2,
        2,
        IGNORE,
        IGNORE,
    ]
    assert Cluster(threshold=0.7, share=0).labels(table, torch.tensor([0, 0, 0, 1])).tolist() == [IGNORE] * 5


def test_the_cached_assignment_is_whole_or_absent(tmp_path):
    file = tmp_path / "deep" / "a.npz"
    assert load_assignment(file, 3) is None
    save_assignment(file, np.array([2, 0, 1]))
    assert load_assignment(file, 3).tolist() == [2, 0, 1]
    assert load_assignment(file, 4) is None
    whole = file.read_bytes()
    for damaged in (whole[:50], whole[:-30], b""):
        file.write_bytes(damaged)
        assert load_assignment(file, 3) is None


def test_the_cache_key_changes_with_all_that_matters():
    base = (Cluster(), ["a", "b"], "resnet101 timm 8", 0)
    keys = {cluster_key(*base)}
    for changed in (
        (Cluster(clusters=8), *base[1:]),
        (Cluster(components=8), *base[1:]),
        (base[0], ["a", "c"], *base[2:]),
        (*base[:2], "resnet50 timm 8", 0),
        (*base[:3], 1),
    ):
        keys.add(cluster_key(*changed))
    assert len(keys) == 6
    assert cluster_key(Cluster(threshold=0.1, weight=2), *base[1:]) == cluster_key(*base)
