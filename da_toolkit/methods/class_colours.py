"""Class colours: every class of a source image changes its light and colour on its own."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from da_toolkit.data.batch import Batch
from da_toolkit.data.labels import IGNORE
from da_toolkit.errors import UserError
from da_toolkit.ranks.parallel import random_rows
from da_toolkit.registry import REGULARIZERS
from da_toolkit.terms.term import BuildContext, Regularizer, Term


def change_class_colours(images: Tensor, label: Tensor, gain: Tensor, contrast: Tensor) -> Tensor:
    """Each class's pixels at a new contrast around their mean colour, then times a factor per channel; clipped to 0..1.

    Args:
        images: float [B,3,H,W], 0..1.
        label: int64 [B,H,W], 255 = ignore.
        gain: [B,C+1,3], a factor for each class and channel; the last class is that of ignored pixels.
        contrast: [B,C+1,1], a factor for each class.
    """
    rows = gain.shape[1]
    ids = label.where(label != IGNORE, rows - 1).flatten(1)[..., None]
    pixels = images.flatten(2).transpose(1, 2)
    number = images.new_zeros(len(images), rows, 1).scatter_add_(1, ids, torch.ones_like(pixels[..., :1]))
    mean = images.new_zeros(len(images), rows, 3).scatter_add_(1, ids.expand_as(pixels), pixels) / number.clamp(min=1)
    mean, gain = (values.gather(1, ids.expand_as(pixels)) for values in (mean, gain))
    changed = (mean + (pixels - mean) * contrast.gather(1, ids)) * gain
    return changed.transpose(1, 2).reshape(images.shape).clamp(0, 1)


@REGULARIZERS.register("class_colours", family="input-space", paper="Tobin et al., IROS 2017 (arXiv 1703.06907)")
@dataclass(frozen=True)
class ClassColours(Regularizer):
    """Random light, colour and contrast for each class of a source image: domain randomisation, class by class.

    Meant for simulators that paint a class in few colours, which the target does not share. That classes change apart,
    and all ranges, are ours.
    """

    needs_source: ClassVar[bool] = True
    light: float = 0.7
    """A class becomes up to exp(light) times darker or lighter, and its contrast in proportion up to
    exp(light / 2) times lower or higher."""
    colour: float = 0.2
    """Each channel of a class changes by up to exp(colour) more."""
    share: float = 0.7
    """Share 0..1 of source images that change."""

    def __post_init__(self) -> None:
        if self.light < 0 or self.colour < 0 or not 0 <= self.share <= 1:
            raise UserError(
                "class_colours: light and colour are at least 0 and share lies in 0..1, got "
                f"light {self.light}, colour {self.colour}, share {self.share}."
            )

    def build(self, context: BuildContext) -> "ClassColoursTerm":
        return ClassColoursTerm(self, len(context.label_space))


class ClassColoursTerm(Term):
    """Changes source images; has no loss."""

    def __init__(self, settings: ClassColours, num_classes: int) -> None:
        super().__init__()
        self.settings, self.num_classes = settings, num_classes

    @torch.no_grad()
    def transform(self, source: Batch | None, target: Batch | None) -> tuple[Batch | None, Batch | None]:
        if source is None:
            return source, target
        assert source.label is not None  # a method that reads the source reads its labels
        settings, count, rows = self.settings, len(source.image), self.num_classes + 1
        draws = random_rows(count, 1 + 5 * rows, source.image.device)
        light, colour, contrast = (2 * draws[:, 1:].view(count, rows, 5) - 1).split([1, 3, 1], dim=2)
        gain = (settings.light * light + settings.colour * colour).exp()
        with torch.autocast(source.image.device.type, enabled=False):
            changed = change_class_colours(source.image, source.label, gain, (settings.light / 2 * contrast).exp())
        image = changed.where(draws[:, 0, None, None, None] < settings.share, source.image)
        return replace(source, image=image.contiguous(memory_format=torch.channels_last)), target
