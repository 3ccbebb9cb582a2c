"""Input-space adaptation: source images take on the colours or the low frequencies of target images."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from da_toolkit.data.batch import Batch
from da_toolkit.errors import UserError
from da_toolkit.methods.entropy import Entropy
from da_toolkit.methods.supervised import SourceOnly
from da_toolkit.methods.term import BuildContext, Regularizer, Term
from da_toolkit.registry import METHODS, REGULARIZERS


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


def swap_low_frequencies(source: Tensor, target: Tensor, beta: float) -> Tensor:
    """Source images with the target's amplitude in the lowest frequencies and their own phase (FDA, eq. 3).

    The square around frequency 0 has sides of 2b + 1, b = floor(beta * the shorter side of the source). Amplitudes are
    per pixel, so the images may differ in size. The result is not clipped.

    Args:
        source, target: [B,3,H,W] and [B,3,H',W'].
    """
    height, width = source.shape[2:]
    reach = int(beta * min(height, width))
    spectrum = torch.fft.fft2(source.float(), norm="forward")
    amplitude, other = spectrum.abs(), torch.fft.fft2(target.float(), norm="forward").abs()
    reach = min(reach, *((side - 1) // 2 for side in (height, width, *target.shape[2:])))
    low = torch.arange(-reach, reach + 1, device=source.device)
    rows, columns = low[:, None], low[None]  # negative indices are negative frequencies
    amplitude[..., rows, columns] = other[..., rows, columns]
    return torch.fft.ifft2(torch.polar(amplitude, spectrum.angle()), norm="forward").real


def match_lab_statistics(source: Tensor, target: Tensor) -> Tensor:
    """Source images with the mean and standard deviation, per Lab channel, of the target images (Reinhard et al., 2001;
    in CIELAB instead of their l-alpha-beta). Images RGB 0..1; the result may leave that range."""
    from kornia.color import lab_to_rgb, rgb_to_lab

    own, wanted = rgb_to_lab(source.float()), rgb_to_lab(target.float())
    deviation, mean = torch.std_mean(own, (2, 3), keepdim=True)
    new_deviation, new_mean = torch.std_mean(wanted, (2, 3), keepdim=True)
    return lab_to_rgb((own - mean) / deviation.clamp(min=1e-3) * new_deviation + new_mean, clip=False)


@REGULARIZERS.register("fourier_transfer", family="input-space", paper="Yang & Soatto, CVPR 2020 (arXiv 2004.05498)")
@dataclass(frozen=True)
class FourierTransfer(Regularizer):
    """Source images with the low-frequency amplitudes of target images (FDA)."""

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

    def build(self, context: BuildContext) -> Term:
        return _Lab()


class _Lab(SourceTransfer):
    def styled(self, source: Tensor, target: Tensor) -> Tensor:
        return match_lab_statistics(source, target)


@METHODS.register(family="input-space", paper="Yang & Soatto, CVPR 2020 (arXiv 2004.05498)")
def fda() -> SourceOnly:
    """Fourier domain adaptation: one band, with the Charbonnier entropy on target predictions."""
    return SourceOnly(regularizers=(FourierTransfer(), Entropy(weight=0.005, aux_weight=0.0, eta=2.0)))


@METHODS.register("lab", family="input-space", paper="Reinhard et al., IEEE CG&A 2001")
def lab() -> SourceOnly:
    """Source images take on the target's colour statistics; nothing else is adapted."""
    return SourceOnly(regularizers=(LabTransfer(),))
