"""What every segmentation network gives: logits of the main and auxiliary level, features, and where they lie."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from da_toolkit.models.grid import enlarged, pooled


class Detail(NamedTuple):
    """What a network says of a crop of each image that it has also looked at closely (HRDA)."""

    logits: Tensor
    """[B,C,h'',w''] of the crops, by cells."""
    corners: tuple[tuple[int, int], ...]
    """Of each image's crop, the pixels above and to the left of it."""
    size: tuple[int, int]
    """The crops' height and width, in pixels."""
    weight: float
    """Share, 0..1, of a loss of labels that is taken of the crops; the rest is taken of the whole images."""

    def enlarged(self) -> Tensor:
        """float32 [B,C,*size]: the logits at the crops' pixels."""
        return enlarged(self.logits, self.size, align_corners=False)

    def cut(self, maps: Tensor) -> Tensor:
        """[B,*size]: the crops of maps [B,H,W] of the images' pixels."""
        height, width = self.size
        places = zip(maps, self.corners, strict=True)
        return torch.stack([one[top : top + height, left : left + width] for one, (top, left) in places])


class Output(NamedTuple):
    """One forward pass at the head's own resolution h x w (the image's over the output stride)."""

    logits: Tensor
    """[B,C,h,w] scores before the softmax."""
    aux_logits: Tensor | None
    """[B,C,h',w'] of the auxiliary level, for networks that have one."""
    features: Tensor
    """[B,D,h,w] of the backbone's last stage."""
    align_corners: bool = False
    """Positions of all of them lie from the image's first to its last pixel, rather than in the middle of cells."""
    detail: Detail | None = None
    """Of a network that also looks at a crop of each image, in training."""

    def enlarged(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """float32 [B,C,*size]: maps [B,C,h,w] of this network brought to pixels, or to another of its levels."""
        return enlarged(maps, size, self.align_corners)

    def with_maps(self, change: Callable[[Tensor], Tensor]) -> "Output":
        """The same with every map, those of the detail too, changed."""
        return self._replace(
            logits=change(self.logits),
            aux_logits=None if self.aux_logits is None else change(self.aux_logits),
            features=change(self.features),
            detail=None if self.detail is None else self.detail._replace(logits=change(self.detail.logits)),
        )

    def pooled(self, maps: Tensor) -> Tensor:
        """float32 [B,C,h,w]: the mean of maps [B,C,H,W] of the image over the pixels of each feature position."""
        return pooled(maps, self.features.shape[2:], self.align_corners)


class Segmenter(nn.Module):
    """A network that takes float RGB images [B,3,H,W] in 0..1 and returns an `Output`.

    It normalises its input itself: its weights decide the mean and deviation, so no loader, evaluation
    or export can disagree with them.
    """

    num_classes: int
    still: tuple[str, ...] = ()
    """Names of the parts that stay in evaluation mode while the network trains, for a method has frozen them."""

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name in self.still:
            getattr(self, name).eval()
        return self

    def forward(self, images: Tensor) -> Output:
        raise NotImplementedError
