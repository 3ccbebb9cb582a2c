"""Score a network on a labelled split, at the labels' full resolution."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby

import cv2
import numpy as np
import torch
from torch import Tensor

from da_toolkit.data.domain import DomainData
from da_toolkit.errors import UserError
from da_toolkit.evaluation.inference import Evaluation, predict
from da_toolkit.evaluation.metrics import confusion_matrix
from da_toolkit.models.segmenter import Segmenter

_AHEAD = 2  # threads that read the next images while the network works


@torch.inference_mode()
def evaluate(
    model: Segmenter,
    data: DomainData,
    settings: Evaluation,
    size: tuple[int, int],
    device: torch.device,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    rank: int = 0,
    world: int = 1,
    reduce: Callable[[Tensor], Tensor] = lambda counts: counts,
) -> Tensor:
    """Confusion matrix int64 [C,C] of the split on the device; the model's training mode is left as it was.

    Args:
        size: (height, width) of the network's input, unless `settings.size` names another.
        rank, world: this process scores every `world`-th image, so shards may be uneven.
        reduce: sums the matrix over processes.

    Raises:
        UserError: the split has no labels.
    """
    if not data.has_labels:
        raise UserError(
            f"{data.name} {data.split} has no labels to score against. Add its annotations, or evaluate another split."
        )
    was_training = model.training
    model.eval()
    classes = len(data.label_space)
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)
    indices = range(len(data))[: settings.images][rank::world]
    for images, labels in _batches(data, indices, settings.size or size, settings.batch_size):
        with autocast():
            decided = predict(model, to_input(images, device), settings, labels.shape[1:])
        confusion += confusion_matrix(decided, torch.from_numpy(labels).to(device), classes)
    model.train(was_training)
    return reduce(confusion)


def to_input(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [B,H,W,3] -> the network's input, float [B,3,H,W] 0..1 in channels-last memory."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div_(255)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic as in training; area averaging for shrinking by more than half, where bicubic would alias."""
    if image.shape[:2] == size:
        return image
    shrinks = image.shape[0] > 2 * size[0] or image.shape[1] > 2 * size[1]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _batches(
    data: DomainData, indices: range, size: tuple[int, int], batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images [B,h,w,3] and labels [B,H,W] of equal label size, read ahead by threads."""

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        return resized(data.image(index), size), data.label(index)

    with ThreadPoolExecutor(_AHEAD) as pool:
        for start in range(0, len(indices), batch_size * _AHEAD):
            chunk = pool.map(read, indices[start : start + batch_size * _AHEAD])
            for _, group in groupby(chunk, key=lambda sample: sample[1].shape):
                same = list(group)
                for first in range(0, len(same), batch_size):
                    part = same[first : first + batch_size]
                    yield np.stack([image for image, _ in part]), np.stack([label for _, label in part])
