"""Mixed and masked training images: ClassMix, random blocks, and batched colour changes on the device."""

import math

import torch
from torch import Tensor

from da_toolkit.data.labels import IGNORE
from da_toolkit.ranks.parallel import random_rows


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
    hidden = random_rows(batch, rows * columns, images.device).view(batch, 1, rows, columns) < ratio
    return hidden.repeat_interleave(block, 2).repeat_interleave(block, 3)[:, :, :height, :width]


@torch.no_grad()
def change_colours(images: Tensor, jitter: float, blur: float) -> Tensor:
    """Random brightness, contrast, saturation and hue on 8 of 10 images, and Gaussian blur of sigma 0.15..1.15 pixels
    on a share `blur` of them, as DACS (Tranheden et al., WACV 2021) changes mixed images.

    Args:
        images: float [B,3,H,W], 0..1, as the result.
        jitter: strength 0..1: factors lie in 1 - jitter .. 1 + jitter, hue turns by up to that share of a circle.
    """
    from kornia import enhance, filters

    draws = random_rows(len(images), 7, images.device)
    with torch.autocast(images.device.type, enabled=False):
        if jitter:
            factors = 1 + jitter * (2 * draws[:, :3] - 1)
            changed = enhance.adjust_brightness_accumulative(images, factors[:, 0])
            changed = enhance.adjust_contrast_with_mean_subtraction(changed, factors[:, 1])
            changed = enhance.adjust_saturation_with_gray_subtraction(changed, factors[:, 2])
            changed = enhance.adjust_hue(changed.clamp(0, 1), 2 * math.pi * min(0.5, jitter) * (2 * draws[:, 3] - 1))
            images = torch.where(draws[:, 4, None, None, None] < 0.8, changed, images).clamp(0, 1)
        if blur:
            sigma = (0.15 + draws[:, 5])[:, None].expand(-1, 2)
            blurred = filters.gaussian_blur2d(images, (9, 9), sigma)
            images = torch.where(draws[:, 6, None, None, None] < blur, blurred, images)
    return images
