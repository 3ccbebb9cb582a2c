"""Confusion matrices counted on the device, and the scores read from them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def image_confusions(prediction: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """Pixel counts of each image by (label, prediction): int64 [B,C,C]. Never waits for the device.

    Args:
        prediction: integers [B,...] in 0..C-1, as an argmax over C logits gives them.
        label: integers of the same shape; 255 and every other id outside 0..C-1 are left out.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != label.shape:
        raise ValueError(f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)} differ in shape")
    rows = num_classes + 1
    small = torch.int16 if rows * num_classes <= torch.iinfo(torch.int16).max else torch.int64
    # A row more than classes: ignored pixels fall there, so their number is never needed on the host.
    row = label.to(small).where((label >= 0) & (label < num_classes), num_classes)
    bins = (row * num_classes + prediction.to(small)).flatten(1)
    return _counts(bins, rows * num_classes).view(-1, rows, num_classes)[:, :-1].contiguous()


def _counts(numbers: Tensor, size: int) -> Tensor:
    """int64 [B,size]: how often each of 0..size-1 stands in each row of integers [B,N]."""
    counts = torch.zeros(len(numbers), size, dtype=torch.int64, device=numbers.device)
    if numbers.device.type != "cpu":  # bincount would ask the device for the largest number, and wait
        return counts.scatter_add_(1, numbers.long(), torch.ones_like(numbers, dtype=torch.int64))
    for row, into in zip(numbers, counts, strict=True):
        into.copy_(torch.bincount(row, minlength=size))
    return counts


def merged(confusion: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """The matrix [...,G,G] of groups of classes: confusions within a group become hits.

    Args:
        confusion: int64 [...,C,C], rows = label, columns = prediction.
        groups: each class 0..C-1 in exactly one of them.

    Raises:
        ValueError: a class is in no group, or in two.
    """
    classes = confusion.shape[-1]
    if sorted(number for group in groups for number in group) != list(range(classes)):
        raise ValueError(f"the groups {groups} do not have each of {classes} classes once")
    into = torch.zeros(classes, dtype=torch.int64, device=confusion.device)
    for number, group in enumerate(groups):
        into[list(group)] = number
    rows = confusion.new_zeros(*confusion.shape[:-2], len(groups), classes).index_add_(-2, into, confusion)
    return confusion.new_zeros(*confusion.shape[:-2], len(groups), len(groups)).index_add_(-1, into, rows)


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
