"""Cross-entropy, and means over some of a batch's pixels that are alike for any number of ranks."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from da_toolkit.data.labels import IGNORE
from da_toolkit.ranks.parallel import mean_over_ranks


def segmentation_loss(
    logits: Tensor, label: Tensor, weights: Tensor | None = None, average: Literal["labelled", "all"] = "labelled"
) -> Tensor:
    """Cross-entropy averaged over labelled pixels; 0 (with a gradient of 0) where every pixel is ignored.

    Args:
        logits: [B,C,H,W].
        label: int64 [B,H,W], 255 = ignore.
        weights: [C], what a pixel of each class counts in the average; by default all count the same.
        average: with "all", over all pixels, of which the ignored ones give 0; `weights` are then factors.
    """
    total = F.cross_entropy(logits, label, weights, ignore_index=IGNORE, reduction="sum")
    if average == "all":
        return total / label.numel()
    return total / labelled_mass(label, weights)


def labelled_mass(label: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum of the weights, by default 1, of the pixels of int64 [B,H,W] whose label is not 255; 1 if it is 0.

    With several processes, their mean.
    """
    labelled = label != IGNORE
    mass = labelled.sum() if weights is None else (weights[label.where(labelled, 0)] * labelled).sum()
    mass = mean_over_ranks(mass)
    return mass.where(mass > 0, 1)


def mean_where(values: Tensor, counts: Tensor) -> Tensor:
    """Mean of [B,H,W] over positions bool [B,H,W], of all processes together; 0 without any."""
    number = mean_over_ranks(counts.sum())
    return (values * counts).sum() / number.where(number > 0, 1)
