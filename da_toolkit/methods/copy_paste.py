"""Copy-paste: things of one source image stand in another too, larger or smaller, mirrored, and elsewhere."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from da_toolkit.data.batch import Batch
from da_toolkit.data.labels import IGNORE
from da_toolkit.errors import UserError
from da_toolkit.ranks.parallel import next_images, random_rows
from da_toolkit.registry import REGULARIZERS
from da_toolkit.terms.term import BuildContext, Regularizer, Term

# How far the middle of what is pasted moves, as shares of the image: things stand about as low.
_ACROSS, _DOWN = 0.4, 0.175


@REGULARIZERS.register("copy_paste", family="input-space", paper="Ghiasi et al., CVPR 2021 (arXiv 2012.07177)")
@dataclass(frozen=True)
class CopyPaste(Regularizer):
    """Things of the batch's next source image are pasted over a source image, with their labels.

    A batch of one image gets its own things once more. A simulator's things are few and always stand where its one
    scene has them, so that a network learns the place for the thing. That classes are pasted rather than single
    instances, which class maps do not have, and all ranges are ours.
    """

    needs_source: ClassVar[bool] = True
    share: float = 0.7
    """Share 0..1 of source images that are pasted into."""
    classes: float = 0.6
    """Share 0..1 of the classes of things (people, vehicles, signs and lights) that are taken each time."""
    scale: tuple[float, float] = (0.5, 1.6)
    """The least and the greatest zoom of what is pasted, drawn evenly in its logarithm."""

    def __post_init__(self) -> None:
        for name in ("share", "classes"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise UserError(f"copy_paste.{name} must lie in 0..1, got {value}.")
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise UserError(f"copy_paste.scale must be two zooms above 0, the least first, got {self.scale}.")

    def build(self, context: BuildContext) -> "CopyPasteTerm":
        return CopyPasteTerm(self, context)


def pasted(
    images: Tensor, label: Tensor, zoom: Tensor, mirrored: Tensor, shift: Tensor, taken: Tensor
) -> tuple[Tensor, Tensor]:
    """Images and labels over which classes of the batch's next image are pasted, moved and zoomed.

    Args:
        images: float [B,3,H,W].
        label: int64 [B,H,W], 255 = ignore.
        zoom: [B], how many times as large as in its image a thing is.
        mirrored: bool [B].
        shift: [B,2], by how many widths and heights of the image the middle of what is pasted moves right and down.
        taken: bool [B,C], which classes are pasted into each image.
    """
    zero, one = torch.zeros_like(zoom), torch.ones_like(zoom)
    flip = one - 2 * mirrored.to(zoom)
    across, down = (2 * shift).unbind(1)
    rows = [torch.stack([flip, zero, -flip * across], 1), torch.stack([zero, one, -down], 1)]
    grid = F.affine_grid(torch.stack(rows, 1) / zoom.view(-1, 1, 1), list(images.shape), align_corners=False)
    donors = F.grid_sample(next_images(images), grid, "bilinear", "border", align_corners=False)
    numbers = next_images((label + 1).where(label != IGNORE, 0))  # 0 is what the sampling says of places outside, too
    moved = F.grid_sample(numbers[:, None].to(images.dtype), grid, "nearest", "zeros", align_corners=False)
    ids = moved[:, 0].round().long()
    covered = F.pad(taken, (1, 0)).gather(1, ids.flatten(1)).view(ids.shape)
    return torch.where(covered[:, None], donors, images), (ids - 1).where(covered, label)


class CopyPasteTerm(Term):
    """Changes source images and labels; has no loss."""

    looks_at = ()

    things: Tensor

    def __init__(self, settings: CopyPaste, context: BuildContext) -> None:
        super().__init__()
        self.settings, space = settings, context.label_space
        if not space.things:
            raise UserError(f"copy_paste needs thing classes, and {space.name} has none.")
        things = torch.tensor([number in space.things for number in range(len(space))])
        self.register_buffer("things", things, persistent=False)

    @torch.no_grad()
    def transform(self, source: Batch | None, target: Batch | None) -> tuple[Batch | None, Batch | None]:
        if source is None:
            return source, target
        assert source.label is not None  # a method that reads the source reads its labels
        settings, images = self.settings, source.image
        draws = random_rows(len(images), 5 + len(self.things), images.device)
        whether, size, mirror, across, down = draws[:, :5].to(images.dtype).unbind(1)
        least, most = settings.scale
        zoom = least * (most / least) ** size
        shift = torch.stack([_ACROSS * (2 * across - 1), _DOWN * (2 * down - 1)], 1)
        taken = (draws[:, 5:] < settings.classes) & (whether < settings.share)[:, None] & self.things
        with torch.autocast(images.device.type, enabled=False):
            image, label = pasted(images, source.label, zoom, mirror < 0.5, shift, taken)
        return replace(source, image=image.contiguous(memory_format=torch.channels_last), label=label), target
