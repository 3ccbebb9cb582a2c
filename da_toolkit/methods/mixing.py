"""Mixed and masked training images: ClassMix, random blocks, and batched colour changes on the device."""

from collections.abc import Callable

import torch
from torch import Tensor

from da_toolkit.data.labels import IGNORE


def class_mask(label: Tensor, scores: Tensor) -> Tensor:
    """bool [B,H,W]: the pixels of half (rounded up) of the classes present in each image (ClassMix; Olsson et al.,
    WACV 2021). Never waits for the device.

    Args:
        label: int64 [B,H,W]; pixels of 255 are in no class.
        scores: [B,C] random numbers; the present classes with the lowest ones are taken.
    """
    batch, classes = scores.shape
    ids = label.where(label != IGNORE, classes).flatten(1)
    counts = scores.new_zeros(batch, classes + 1).scatter_add_(1, ids, torch.ones_like(ids, dtype=scores.dtype))
    present = counts[:, :classes] > 0
    rank = scores.masked_fill(~present, torch.inf).argsort(1).argsort(1)
    taken = present & (rank < (present.sum(1, keepdim=True) + 1) // 2)
    taken = torch.cat([taken, taken.new_zeros(batch, 1)], 1)
    return taken.gather(1, ids).view_as(label)


def block_mask(images: Tensor, block: int, ratio: float) -> Tensor:
    """bool [B,1,H,W], true where an image [B,C,H,W] is hidden: each square of `block` pixels with chance `ratio`
    (Hoyer et al., CVPR 2023)."""
    batch, _, height, width = images.shape
    rows, columns = -(-height // block), -(-width // block)
    hidden = torch.rand(batch, 1, rows, columns, device=images.device) < ratio
    return hidden.repeat_interleave(block, 2).repeat_interleave(block, 3)[:, :, :height, :width]


def colour_changes(jitter: float, blur: float) -> Callable[[Tensor], Tensor]:
    """Random brightness, contrast, saturation and hue of strength 0..1 on 8 of 10 images, and Gaussian blur of sigma
    0.15..1.15 pixels on a share `blur` of them, as DACS (Tranheden et al., WACV 2021) applies them to mixed images.

    Takes and gives float [B,3,H,W], 0..1; draws from torch's generator.
    """
    import kornia.augmentation as K

    changes: list[torch.nn.Module] = []
    if jitter:
        changes.append(K.ColorJitter(jitter, jitter, jitter, min(0.5, jitter), p=0.8))
    if blur:
        changes.append(K.RandomGaussianBlur((9, 9), (0.15, 1.15), p=blur))
    sequence = torch.nn.Sequential(*changes)

    def change(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            return sequence(images).clamp(0, 1)

    return change
