"""What the network says about every region: class histograms and mean probabilities, in one table."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from da_toolkit.data.labels import IGNORE
from da_toolkit.evaluation.deciding import decided
from da_toolkit.ranks.parallel import sum_over_ranks

Selection = Literal["mean_probability", "vote_share"]


class RegionRows:
    """Numbers the regions of all images in one sequence: region r of image i stands in row `offsets[i] + r`.

    Args:
        counts: the number of regions of each image.
    """

    def __init__(self, counts: Sequence[int], device: torch.device) -> None:
        self.counts = list(counts)
        self.total = sum(self.counts)
        self.offsets = torch.tensor([0, *self.counts[:-1]], dtype=torch.int64).cumsum(0).to(device)

    def of(self, index: Tensor, regions: Tensor) -> Tensor:
        """int64 [B,H,W] rows of region maps int32 [B,H,W] of the images `index` [B]; `total` where there is none."""
        rows = regions.long() + self.offsets[index][:, None, None]
        return rows.masked_fill_(regions < 0, self.total)


class RegionTable:
    """Sums over the pixels of every region; row `total` collects the pixels that belong to none.

    Adding never waits for the device.
    """

    def __init__(self, rows: RegionRows, num_classes: int) -> None:
        self.rows, self.num_classes = rows, num_classes
        device = rows.offsets.device
        self.votes = torch.zeros(rows.total + 1, num_classes, dtype=torch.int32, device=device)
        """Pixels of each class (argmax) in each region."""
        self.mass = torch.zeros(rows.total + 1, num_classes, device=device)
        """Sum of the class probabilities over each region's pixels."""

    def add(self, index: Tensor, regions: Tensor, probabilities: Tensor) -> None:
        """Count images: `index` [B], `regions` int32 [B,H,W], `probabilities` float [B,C,H,W]."""
        rows = self.rows.of(index, regions).flatten()
        best = decided(probabilities).flatten().long()
        ones = torch.ones_like(rows, dtype=torch.int32)
        self.votes.view(-1).scatter_add_(0, rows * self.num_classes + best, ones)
        self.mass.index_add_(0, rows, probabilities.permute(0, 2, 3, 1).reshape(-1, self.num_classes).float())

    def sum_over_ranks(self) -> None:
        """After the last image: count those of all processes. Exact, for an image is seen by one process alone."""
        sum_over_ranks(self.votes, self.mass)

    def dominant(self) -> Tensor:
        """uint8 [total]: the most frequent class of each region, the lower one on a tie; 255 for an unseen region."""
        votes = self.votes[:-1]
        seen = votes.sum(1) > 0
        return votes.argmax(1).where(seen, IGNORE).byte()

    def score(self, selection: Selection) -> Tensor:
        """float32 [total], 0..1: how sure the dominant category is; 0 for an unseen region."""
        votes = self.votes[:-1]
        of = self.mass[:-1] if selection == "mean_probability" else votes.float()
        best = of.gather(1, votes.argmax(1, keepdim=True))[:, 0]
        return best / votes.sum(1).clamp(min=1)


def selected_labels(labels: Tensor, scores: Tensor, threshold: float, share: float = 0.0) -> Tensor:
    """uint8 [total+1], the labels of selected rows, else 255; and 255 for the row of none.

    Args:
        labels: uint8 [total], 255 = none.
        scores: float32 [total], 0..1.
        threshold: rows whose score exceeds it are selected.
        share: and at least this share of the rows of each label, those with the highest scores.
    """
    chosen = scores > threshold
    if share > 0:
        for label in labels.unique().tolist():
            own = labels == label
            chosen |= own & (scores >= scores[own].quantile(1 - share))
    return torch.cat([labels.where(chosen, IGNORE), labels.new_full((1,), IGNORE)])


def selected_share(table: RegionTable, labels: Tensor) -> float:
    """The share 0..1 of the seen pixels that lie in regions with a label other than 255; `labels` uint8 [total+1]."""
    pixels = table.votes.sum(1)
    return (pixels[labels != IGNORE].sum() / pixels.sum().clamp(min=1)).item()
