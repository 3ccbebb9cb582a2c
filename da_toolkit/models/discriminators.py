"""Domain discriminators: is this map from the source or the target?"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from da_toolkit.errors import UserError

_SMALLEST = 32  # five halvings leave nothing of a smaller map


class OutputDiscriminator(nn.Module):
    """Fully convolutional discriminator of output space (Tsai et al., CVPR 2018, section 3.2).

    Five convolutions of kernel 4, stride 2, padding 1 with `width` x (1, 2, 4, 8) channels and one output,
    LeakyReLU 0.2 between them. [B,C,H,W] -> logits [B,1,H/32,W/32].

    Raises:
        UserError: a map below 32 pixels.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1))

    def forward(self, maps: Tensor) -> Tensor:
        if min(maps.shape[2:]) < _SMALLEST:
            raise UserError(
                f"The output-space discriminator needs maps of at least {_SMALLEST} pixels a side, got "
                f"{tuple(maps.shape[2:])}: raise source.size and target.size."
            )
        return self.layers(maps)


class FeatureDiscriminator(nn.Module):
    """ASPP-type discriminator of feature space: a 1x1 reduction, then a sum of dilated 3x3 convolutions.

    [B,D,h,w] -> logits [B,1,h,w], one decision per feature position.
    """

    def __init__(self, channels: int, width: int = 256, dilations: Sequence[int] = (6, 12, 18, 24)) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(channels, width, 1), nn.LeakyReLU(0.2))
        self.branches = nn.ModuleList(nn.Conv2d(width, width, 3, padding=r, dilation=r) for r in dilations)
        self.decide = nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        reduced = self.reduce(features)
        return self.decide(torch.stack([branch(reduced) for branch in self.branches]).sum(0))


class ClassDiscriminator(nn.Module):
    """Class-wise discriminator of feature space: three 3x3 convolutions. [B,D,h,w] -> logits [B,2C,h,w]."""

    def __init__(self, channels: int, num_classes: int, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width // 2, 2 * num_classes, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)
