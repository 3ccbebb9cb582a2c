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
from da_toolkit.ranks.parallel import random_rows
from da_toolkit.registry import REGULARIZERS
from da_toolkit.terms.term import BuildContext, Regularizer, Term

_ACROSS, _DOWN = 0.4, 0.175  # how far things may move, as shares of the image's width and height: they stay near ground


@REGULARIZERS.register("copy_paste", family="input-space", paper="Ghiasi et al., CVPR 2021 (arXiv 2012.07177)")
@dataclass(frozen=True)
class CopyPaste(Regularizer):
    """Pastes the things of another source image of the batch over a source image, with their labels.

    A simulator's things are few and always stand where its one scene has them, so that a network learns the place for
    the thing. That classes are pasted rather than single instances, which class maps do not have, and all ranges are
    ours.
    """

    needs_source: ClassVar[bool] = True
    share: float = 0.7
    """Share 0..1 of source images that are pasted into."""
    classes: float = 0.6
    """Share 0..1 of the classes of things (`LabelSpace.things`) that are taken each time."""
    scale: tuple[float, float] = (0.5, 1.6)
    """The least and the greatest zoom of what is pasted, drawn evenly in its logarithm."""

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and 0 <= self.classes <= 1):
            raise UserError(
                f"copy_paste: share and classes lie in 0..1, got share {self.share}, classes {self.classes}."
            )
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
        taken: bool [B,C+1], which classes are pasted into each image; the last is that of ignored pixels.
    """
    ignored = taken.shape[1] - 1
    flip = 1 - 2 * mirrored.float()
    across, down = 2 * shift.unbind(1)[0], 2 * shift.unbind(1)[1]
    zero = torch.zeros_like(zoom)
    rows = [torch.stack([flip, zero, -flip * across], 1), torch.stack([zero, flip.abs(), -down], 1)]
    grid = F.affine_grid(torch.stack(rows, 1) / zoom.view(-1, 1, 1), list(images.shape), align_corners=False)
    donors = F.grid_sample(images.roll(-1, 0), grid, "bilinear", "border", align_corners=False)
    ids = label.where(label != IGNORE, ignored).roll(-1, 0)
    moved = F.grid_sample((ignored - ids).float()[:, None], grid, "nearest", "zeros", align_corners=False)
    ids = ignored - moved[:, 0].round().long()
    covered = taken.gather(1, ids.flatten(1)).view(ids.shape)
    return torch.where(covered[:, None], donors, images), ids.where(covered, label)


class CopyPasteTerm(Term):
    """Changes source images and labels; has no loss."""

    def __init__(self, settings: CopyPaste, context: BuildContext) -> None:
        super().__init__()
        self.settings, self.num_classes = settings, len(context.label_space)
        self.things = context.label_space.things
        if not self.things:
            raise UserError(f"copy_paste needs thing classes, and {context.label_space.name} has none.")

    @torch.no_grad()
    def transform(self, source: Batch | None, target: Batch | None) -> tuple[Batch | None, Batch | None]:
        if source is None:
            return source, target
        assert source.label is not None  # a method that reads the source reads its labels
        settings, count, things = self.settings, len(source.image), list(self.things)
        draws = random_rows(count, 5 + len(things), source.image.device)
        least, most = settings.scale
        zoom = least * (most / least) ** draws[:, 0]
        shift = (2 * draws[:, 2:4] - 1) * draws.new_tensor((_ACROSS, _DOWN))
        taken = torch.zeros(count, self.num_classes + 1, dtype=torch.bool, device=draws.device)
        taken[:, things] = (draws[:, 5:] < settings.classes) & (draws[:, 4:5] < settings.share)
        with torch.autocast(draws.device.type, enabled=False):
            image, label = pasted(source.image, source.label, zoom, draws[:, 1] < 0.5, shift, taken)
        return replace(source, image=image.contiguous(memory_format=torch.channels_last), label=label), target
