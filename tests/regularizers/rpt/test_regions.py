"""Region statistics equal a slow loop over regions, ragged ones and ignored pixels included."""

import numpy as np
import pytest
import torch

from da_toolkit.data.labels import IGNORE
from da_toolkit.regularizers.rpt.regions import (
    RegionRows,
    RegionTable,
    selected_labels,
    selected_share,
)

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
COUNTS, CLASSES = [5, 1, 9], 4


def images(seed=0):
    """Ragged region maps with holes, and probabilities."""
    rng = np.random.default_rng(seed)
    regions = np.stack([rng.integers(0, count, (7, 11)) for count in COUNTS]).astype(np.int32)
    regions[0][regions[0] == 3] = 2  # region 3 of the first image has no pixel
    regions[:, :2, :3] = -1
    probabilities = torch.from_numpy(rng.dirichlet(np.ones(CLASSES), (3, 7, 11)).astype(np.float32)).permute(0, 3, 1, 2)
    return torch.from_numpy(regions), probabilities


@pytest.mark.parametrize("device", DEVICES)
def test_equal_to_a_loop_over_regions(device):
    regions, probabilities = images()
    table = RegionTable(RegionRows(COUNTS, torch.device(device)), CLASSES)
    for order in ([2], [0, 1]):  # in any order, in any batches
        table.add(torch.tensor(order, device=device), regions[order].to(device), probabilities[order].to(device))
    dominant, share, mean = (
        x.cpu() for x in (table.dominant(), table.score("vote_share"), table.score("mean_probability"))
    )
    row = 0
    for image, count in enumerate(COUNTS):
        decided = probabilities[image].argmax(0)
        for region in range(count):
            inside = regions[image] == region
            votes = [int((decided[inside] == c).sum()) for c in range(CLASSES)]
            assert table.votes[row].tolist() == votes
            if sum(votes):
                best = votes.index(max(votes))
                assert dominant[row] == best and share[row] == pytest.approx(max(votes) / sum(votes))
                assert mean[row] == pytest.approx(probabilities[image, best][inside].mean().item(), rel=1e-5)
            else:
                assert dominant[row] == IGNORE and share[row] == 0 and mean[row] == 0
            row += 1
    assert row == len(dominant) and table.votes.sum() == 3 * 7 * 11


def test_rows_of_pixels():
    rows = RegionRows(COUNTS, torch.device("cpu"))
    regions = torch.tensor([[[0, -1]], [[8, 3]]], dtype=torch.int32)
    assert rows.of(torch.tensor([1, 2]), regions).tolist() == [[[5, 15]], [[14, 9]]]


def test_selection_is_by_more_than_the_threshold():
    labels = torch.tensor([3, 1, IGNORE], dtype=torch.uint8)
    assert selected_labels(labels, torch.tensor([0.9, 0.91, 1.0]), 0.9).tolist() == [IGNORE, 1, IGNORE, IGNORE]


def test_at_least_a_share_of_every_label_is_selected():
    labels = torch.tensor([0, 0, 0, 0, 3, 3, 3, 3, 255, 7], dtype=torch.uint8)
    scores = torch.tensor([0.99, 0.95, 0.94, 0.2, 0.5, 0.1, 0.3, 0.4, 0.0, 0.01])
    chosen = selected_labels(labels, scores, 0.9, share=0.5)
    # three of label 0 are above the threshold; of label 3 the surer half; the only one of label 7
    assert chosen.tolist() == [0, 0, 0, 255, 3, 255, 255, 3, 255, 7, 255]
    assert selected_labels(labels, scores, 0.9, share=0.0).tolist() == [0, 0, 0] + [255] * 8
    assert selected_labels(labels, scores, 0.9, share=1.0).tolist() == [*labels.tolist(), 255]


def test_the_selected_share_is_one_of_pixels():
    table = RegionTable(RegionRows([3], torch.device("cpu")), 4)
    regions = torch.tensor([[[0, 0, 0, 1, 1, 2, -1]]], dtype=torch.int32)
    probabilities = torch.eye(4)[[0, 0, 1, 1, 1, 3, 2]].T.reshape(1, 4, 1, 7)
    table.add(torch.tensor([0]), regions, probabilities)
    labels = torch.tensor([0, 255, 3, 255], dtype=torch.uint8)
    assert selected_share(table, labels) == pytest.approx(4 / 7)
