"""Confusion matrices counted on the device, and the scores read from them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


class ConfusionMatrix:
    """Pixel counts by (label, prediction), added up without the host ever waiting for the device.

    Args:
        num_classes: C.
        device: where predictions and labels are.
    """

    def __init__(self, num_classes: int, device: torch.device | str | None = None) -> None:
        self.num_classes = num_classes
        # One bin more than pairs: ignored pixels fall there, so their number is never needed on the host.
        self._bins = torch.zeros(num_classes * num_classes + 1, dtype=torch.int64, device=device)

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count pixels.

        Args:
            prediction: integers [...] in 0..C-1, as an argmax over C logits gives them.
            label: integers of the same shape; 255 and every other id outside 0..C-1 are left out.

        Raises:
            ValueError: the shapes differ.
        """
        if prediction.shape != label.shape:
            raise ValueError(f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)} differ in shape")
        label = label.flatten().long()
        counted = (label >= 0) & (label < self.num_classes)
        bins = torch.where(counted, label * self.num_classes + prediction.flatten(), len(self._bins) - 1)
        self._bins.scatter_add_(0, bins, torch.ones_like(bins))

    def total(self, reduce: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """int64 [C,C] on the device, rows = label, columns = prediction.

        Args:
            reduce: sums a tensor over all ranks; by default there is one.
        """
        counts = self._bins[:-1].view(self.num_classes, self.num_classes).clone()
        return counts if reduce is None else reduce(counts)


def iou(confusion: Tensor) -> np.ndarray:
    """float64 [C] intersection over union TP / (TP + FP + FN), 0..1.

    The rule of the Cityscapes benchmark: predictions on ignored pixels are no false positives, and a class in
    neither labels nor predictions is nan. A class that is only ever predicted scores 0.

    Args:
        confusion: int64 [C,C], rows = label, columns = prediction.
    """
    matrix = confusion.cpu().numpy()
    hits = np.diag(matrix)
    return _ratio(hits, matrix.sum(0) + matrix.sum(1) - hits)


def pixel_accuracy(confusion: Tensor) -> float:
    """Share of labelled pixels predicted right, 0..1; nan without any."""
    matrix = confusion.cpu().numpy()
    return float(_ratio(np.trace(matrix)[None], matrix.sum()[None])[0])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
