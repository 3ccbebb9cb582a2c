"""Give images the style of others: low-frequency amplitudes, or colour statistics."""

import torch
from torch import Tensor


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
