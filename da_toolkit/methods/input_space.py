"""Input-space adaptation: source images take on the colours or the low frequencies of target images."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from da_toolkit.data.batch import Batch
from da_toolkit.data.style import match_lab_statistics, swap_low_frequencies
from da_toolkit.errors import UserError
from da_toolkit.methods.entropy import Entropy
from da_toolkit.methods.supervised import SourceOnly
from da_toolkit.registry import METHODS, REGULARIZERS
from da_toolkit.terms.term import BuildContext, Regularizer, Term


class SourceTransfer(Term):
    """Gives every source image of a step the style of the target image at its place in the batch."""

    def styled(self, source: Tensor, target: Tensor) -> Tensor:
        """Images [B,3,H,W] 0..1 and [B,3,H',W'] -> [B,3,H,W]."""
        raise NotImplementedError

    @torch.no_grad()
    def transform(self, source: Batch | None, target: Batch | None) -> tuple[Batch | None, Batch | None]:
        if source is None or target is None:
            return source, target
        with torch.autocast(source.image.device.type, enabled=False):
            image = self.styled(source.image, target.image).clamp(0, 1)
        return replace(source, image=image.contiguous(memory_format=torch.channels_last)), target


@REGULARIZERS.register("fourier_transfer", family="input-space", paper="Yang & Soatto, CVPR 2020 (arXiv 2004.05498)")
@dataclass(frozen=True)
class FourierTransfer(Regularizer):
    """Source images with the low-frequency amplitudes of target images (FDA)."""

    needs_source: ClassVar[bool] = True
    beta: float = 0.01
    """Half the side of the swapped square, as a share of the image's shorter side; 0 = the mean colour alone."""

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 0.5:
            raise UserError(f"fourier_transfer.beta lies in 0..0.5, got {self.beta}.")

    def build(self, context: BuildContext) -> Term:
        return _Fourier(self.beta)


class _Fourier(SourceTransfer):
    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def styled(self, source: Tensor, target: Tensor) -> Tensor:
        return swap_low_frequencies(source, target, self.beta)


@REGULARIZERS.register("lab_transfer", family="input-space", paper="Reinhard et al., IEEE CG&A 2001")
@dataclass(frozen=True)
class LabTransfer(Regularizer):
    """Source images with the colour statistics of target images, in Lab."""

    needs_source: ClassVar[bool] = True

    def build(self, context: BuildContext) -> Term:
        return _Lab()


class _Lab(SourceTransfer):
    def styled(self, source: Tensor, target: Tensor) -> Tensor:
        return match_lab_statistics(source, target)


@METHODS.register(
    family="input-space",
    paper="Yang & Soatto, CVPR 2020 (arXiv 2004.05498)",
    use="the domains differ in colour, light and sensor more than in content.",
    missing="two of three bands, their averaged predictions, and the self-training rounds on these.",
)
def fda() -> SourceOnly:
    """Fourier domain adaptation: one band, with the Charbonnier entropy on target predictions."""
    entropy = Entropy(weight=0.005, aux_weight=0.0, eta=2.0, resolution="head")
    return SourceOnly(regularizers=(FourierTransfer(), entropy))


@METHODS.register(
    "lab",
    family="input-space",
    paper="Reinhard et al., IEEE CG&A 2001",
    use="a free baseline: the domains differ in colour alone.",
    missing=("no row is restated: colour transfer stands here as a baseline, and papers use it inside other methods."),
)
def lab() -> SourceOnly:
    """Source images take on the target's colour statistics; nothing else is adapted."""
    return SourceOnly(regularizers=(LabTransfer(),))
