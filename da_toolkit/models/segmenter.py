"""What every segmentation network gives: logits of the main and auxiliary level, and features."""

from typing import NamedTuple

from torch import Tensor, nn


class Output(NamedTuple):
    """One forward pass at the head's own resolution h x w (the image's over the output stride)."""

    logits: Tensor
    """[B,C,h,w] scores before the softmax."""
    aux_logits: Tensor | None
    """[B,C,h',w'] of the auxiliary level, for networks that have one."""
    features: Tensor
    """[B,D,h,w] of the backbone's last stage."""


class Segmenter(nn.Module):
    """A network that takes float RGB images [B,3,H,W] in 0..1 and returns an `Output`.

    It normalises its input itself: its weights decide the mean and deviation, so no loader, evaluation
    or export can disagree with them.
    """

    num_classes: int

    def forward(self, images: Tensor) -> Output:
        raise NotImplementedError
