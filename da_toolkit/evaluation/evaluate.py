"""Score a network on a labelled split, at the labels' full resolution."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from da_toolkit.data.domain import DomainData
from da_toolkit.data.transforms import resized
from da_toolkit.errors import UserError
from da_toolkit.evaluation.inference import Inference, predict
from da_toolkit.evaluation.metrics import image_confusions
from da_toolkit.models.segmenter import Segmenter

# Threads that read and resize the next images while the network works; OpenCV and PIL drop the GIL.
_READERS = 4


@torch.inference_mode()
def evaluate(
    model: Segmenter,
    data: DomainData,
    settings: Inference,
    size: tuple[int, int],
    device: torch.device,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    rank: int = 0,
    world: int = 1,
    reduce: Callable[[Tensor], Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Confusion matrices int64 [N,C,C] of the split's images on the device, rows = label, columns = prediction.

    Every module's training mode is left as it was. Each image is scored once, whatever the number of ranks.

    Args:
        model: on `device`, with as many classes as the data's label space.
        size: (height, width) of the network's input, unless `settings.size` names another.
        autocast: enters the precision in which the network runs; logits are upsampled in float32.
        rank, world: this process scores every `world`-th image from `rank` on; shards may be uneven.
        reduce: sums a tensor over all ranks; called exactly once.
        progress: told (images done, images in all) of this process after each batch.

    Raises:
        UserError: the split has no labels, or the network has another number of classes.
    """
    if not data.has_labels:
        raise UserError(
            f"{data.name} {data.split} has no labels to score against. Add its annotations, or evaluate another split. "
            f"{data.unlabelled}".rstrip()
        )
    if model.num_classes != len(data.label_space):
        raise UserError(
            f"The network decides between {model.num_classes} classes, but {data.name} {data.split} is "
            f"labelled in {data.label_space.name} with {len(data.label_space)}. Set the domain's `labels` "
            "to the label space that the network was trained in."
        )
    scored = range(len(data))[: settings.images]
    indices = scored[rank::world]
    counts = torch.zeros(len(scored), model.num_classes, model.num_classes, dtype=torch.int64, device=device)
    own = counts[rank::world]
    done = 0
    with evaluating(model):
        for images, labels in _batches(data, indices, settings.size or size, settings.batch_size):
            with autocast():
                classes = predict(model, to_input(images, device), settings, labels.shape[1:])
            labelled = torch.from_numpy(labels).to(device)
            own[done : done + len(images)] = image_confusions(classes, labelled, model.num_classes)
            done += len(images)
            if progress is not None:
                progress(done, len(indices))
    return counts if reduce is None else reduce(counts)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in `eval` mode; afterwards each module's own mode again, frozen batch-norms included."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def to_input(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 RGB [B,H,W,3] -> the network's input, float32 [B,3,H,W] 0..1 in channels-last memory."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div_(255)


def _batches(
    data: DomainData, indices: Sequence[int], size: tuple[int, int], batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images uint8 [B,*size,3], labels uint8 [B,H,W]; a batch ends early where the labels' size changes."""
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for image, label in _read_ahead(data, indices, size, batch_size + _READERS):
        if images and label.shape != labels[0].shape:
            yield np.stack(images), np.stack(labels)
            images, labels = [], []
        images.append(image)
        labels.append(label)
        if len(images) == batch_size:
            yield np.stack(images), np.stack(labels)
            images, labels = [], []
    if images:
        yield np.stack(images), np.stack(labels)


def _read_ahead(
    data: DomainData, indices: Sequence[int], size: tuple[int, int], ahead: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Samples in order, at most `ahead` of them read in advance, so memory does not grow with the split."""

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        return resized(data.image(index), size), data.label(index)

    waiting: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
    pool = ThreadPoolExecutor(_READERS)
    try:
        for index in indices:
            waiting.append(pool.submit(read, index))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a file that hangs must not hold up who breaks this off
