"""Where the positions of a network's coarse maps lie on its image, and how maps go from there to pixels and back.

Two arrangements are in use. By cells, a position stands for an equal share of the pixels and lies in its middle. With
corners aligned, the first and last position lie on the first and last pixel, as strided convolutions lay them where
the grid is odd: 65 x 129 positions of stride 8 on 512 x 1024 pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def at_least_single(values: Tensor) -> Tensor:
    """Values of half precision as float32; float64, in which tests compare training step by step, stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def enlarged(maps: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """float32 [B,C,*size]: the maps [B,C,h,w], bilinearly."""
    # float32 first: half precision has too few digits to interpolate between near-ties.
    return F.interpolate(at_least_single(maps), size=(size[0], size[1]), mode="bilinear", align_corners=align_corners)


def enlarged_rows(maps: Tensor, size: Sequence[int], align_corners: bool, top: int, bottom: int) -> Tensor:
    """float32 [B,C,bottom-top,W]: rows `top` to `bottom` of `enlarged`, without the memory of all of it.

    All rows are bit for bit those of `enlarged`; a part of them is rounded in another order.
    """
    if (top, bottom) == (0, size[0]):
        return enlarged(maps, size, align_corners)
    maps, height = maps.float(), maps.shape[2]
    row = torch.arange(top, bottom, device=maps.device, dtype=torch.float32)
    if align_corners:
        place = row * ((height - 1) / max(1, size[0] - 1))
    else:
        place = ((row + 0.5) * (height / size[0]) - 0.5).clamp(0, height - 1)
    above = place.floor().clamp(max=height - 1).long()
    below = (above + 1).clamp(max=height - 1)
    rows = torch.lerp(maps[:, :, above], maps[:, :, below], (place - above).view(1, 1, -1, 1))
    return enlarged(rows, (bottom - top, size[1]), align_corners)


def pooled(maps: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """float32 [B,C,*size]: the mean of maps [B,C,H,W] over the pixels of each position."""
    maps = at_least_single(maps)
    if not align_corners:
        return F.adaptive_avg_pool2d(maps, (size[0], size[1]))
    down, across = (_means(maps.shape[2 + side], size[side], maps.device).to(maps.dtype) for side in (0, 1))
    with torch.autocast(maps.device.type, enabled=False):
        return down @ maps @ across.t()


def summarized(maps: Tensor, size: Sequence[int], align_corners: bool, classes: int) -> Tensor:
    """[B,*size]: what each position stands for of maps [B,H,W] of pixels: of integers the commonest class among its
    labelled pixels (the least of equals; 255 where none is labelled), of floats the mean.

    Args:
        maps: int64, 0 to classes-1 or 255; or float.
    """
    if maps.is_floating_point():
        return pooled(maps[:, None], size, align_corners)[:, 0]
    (batch, *pixels), (height, width) = maps.shape, size
    row, column = (nearest(pixels[side], size[side], align_corners, maps.device) for side in (0, 1))
    image = torch.arange(batch, device=maps.device).view(-1, 1, 1) * height
    place = (image + row[:, None]) * width + column  # [B,H,W]
    bins = place * (classes + 1) + maps.clamp(max=classes)
    counts = torch.zeros(batch * height * width * (classes + 1), dtype=torch.int32, device=maps.device)
    counts.scatter_add_(0, bins.flatten(), counts.new_ones(1).expand(maps.numel()))
    most, found = counts.view(batch, height, width, classes + 1)[..., :-1].max(3)
    return found.where(most > 0, 255)


def nearest(pixels: int, positions: int, align_corners: bool, device: torch.device | None = None) -> Tensor:
    """int64 [pixels]: the position that each pixel along a side belongs to."""
    pixel = torch.arange(pixels, device=device)
    if not align_corners:
        return pixel * positions // pixels
    steps = max(1, pixels - 1)
    return (2 * pixel * (positions - 1) + steps) // (2 * steps)  # rounded, in whole numbers


def window_starts(length: int, window: int, step: int) -> list[int]:
    """Where windows begin that cover `length`; the last one ends at the border."""
    return [*range(0, length - window, step), length - window]


def _means(pixels: int, positions: int, device: torch.device) -> Tensor:
    """float32 [positions,pixels], rows of sum 1; a position without pixels has the nearest one."""
    if positions >= pixels:
        owner = nearest(positions, pixels, True, device)
        return F.one_hot(owner, pixels).float()
    share = F.one_hot(nearest(pixels, positions, True, device), positions).t().float()
    return share / share.sum(1, keepdim=True)
