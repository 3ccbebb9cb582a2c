"""One domain's batch, as every step sees it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

Fault = tuple[int, str]
"""The index of an image that could not be used, and why."""


@dataclass(frozen=True)
class Batch:
    """`image` float32 [B,3,H,W] RGB 0..1, `label` int64 [B,H,W] (255 = ignore) or none, `index` int64 [B],
    `regions` int32 [B,H,W], numbers within the image (-1 = none), or none."""

    image: Tensor
    label: Tensor | None
    index: Tensor
    regions: Tensor | None = None
    faults: tuple[Fault, ...] = ()
    """Images that other ones stand in for."""

    def to(self, device: torch.device, channels_last: bool = False) -> "Batch":
        """Move to a device without waiting; uint8 images become 0..1 floats there."""
        image = self.image.to(device, non_blocking=True)
        if image.dtype == torch.uint8:
            image = image.float().div_(255)
        if channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        label = self.label.to(device, non_blocking=True).long() if self.label is not None else None
        regions = self.regions.to(device, non_blocking=True) if self.regions is not None else None
        return replace(self, image=image, label=label, index=self.index.to(device, non_blocking=True), regions=regions)
