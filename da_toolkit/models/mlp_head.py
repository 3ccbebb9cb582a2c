"""SegFormer's decoder: every level of a pyramid embedded alike, brought to one grid and fused point by point."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.models.deeplab import conv_norm_relu


class MLPHead(nn.Module):
    """The all-MLP decoder of SegFormer (Xie et al., NeurIPS 2021, section 3.2).

    Args:
        channels: of the pyramid's levels.
        outputs: channels of the result.
        width: channels that each level is embedded to.
        dropout: channel dropout before the last layer, 0..1.
    """

    def __init__(self, channels: Sequence[int], outputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in channels)
        self.fuse = conv_norm_relu(width * len(channels), width)
        self.classify = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(width, outputs, 1))

    def forward(self, pyramid: list[Tensor], size: Sequence[int]) -> Tensor:
        """[B,outputs,*size] of the levels [B,D,h,w]."""
        levels = [
            F.interpolate(embed(level), size=(size[0], size[1]), mode="bilinear", align_corners=False)
            for embed, level in zip(self.embed, pyramid, strict=True)
        ]
        return self.classify(self.fuse(torch.cat(levels, dim=1)))

    @property
    def classifier(self) -> nn.Module:
        """The layers that are a label space's own."""
        return self.classify
