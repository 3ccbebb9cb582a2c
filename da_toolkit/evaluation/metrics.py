"""Confusion matrices and the scores read from them."""

import numpy as np
import torch
from torch import Tensor


def confusion_matrix(prediction: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """int64 [C,C] pixel counts, rows = label, columns = prediction, on the inputs' device.

    Adds without asking the device for a value, so a step never waits.

    Args:
        prediction: integers [...] in 0..C-1.
        label: integers of the same shape; 255 and every other id outside 0..C-1 are left out.
        num_classes: C.
    """
    prediction, label = prediction.flatten().long(), label.flatten().long()
    counted = (label >= 0) & (label < num_classes)
    bins = torch.where(counted, label * num_classes + prediction, num_classes * num_classes)
    counts = torch.zeros(num_classes * num_classes + 1, dtype=torch.int64, device=label.device)
    counts.scatter_add_(0, bins, torch.ones_like(bins))
    return counts[:-1].view(num_classes, num_classes)


def iou_per_class(confusion: Tensor) -> np.ndarray:
    """float64 [C] intersection over union, 0..1; nan for a class in neither labels nor predictions."""
    matrix = confusion.cpu().numpy()
    hits = np.diag(matrix).astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def pixel_accuracy(confusion: Tensor) -> float:
    """Share 0..1 of labelled pixels predicted right; nan without any."""
    total = int(confusion.sum())
    return int(confusion.diag().sum()) / total if total else float("nan")
