"""The DAFormer head on a Mix Transformer, or on any timm pyramid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.models.backbones import aligns_corners, build_backbone
from da_toolkit.models.deeplab import ASPPSum, conv_norm_relu, separable
from da_toolkit.models.mix_transformer import build_mix_transformer
from da_toolkit.models.pyramid import PyramidSegmenter, second_last
from da_toolkit.models.settings import ModelSettings
from da_toolkit.registry import MODELS


class DAFormerHead(nn.Module):
    """Context-aware fusion of a pyramid's last levels (Hoyer et al., CVPR 2022, section 3.2).

    `channels` are those of the levels that it fuses; finer ones are left out. Each level is embedded to `width`
    channels and brought to the finest one's size; their stack passes a 1x1 and depthwise separable 3x3 convolutions of
    several dilations side by side, which a 3x3 convolution fuses.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        width: int,
        dilations: Sequence[int],
        dropout: float,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.embed = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in channels)
        stack = width * len(channels)
        self.branches = nn.ModuleList(
            conv_norm_relu(stack, width) if rate == 1 else separable(stack, width, rate) for rate in dilations
        )
        self.fuse = conv_norm_relu(width * len(dilations), width, 3)
        self.classify = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(width, num_classes, 1))

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        pyramid = pyramid[-len(self.embed) :]
        size = pyramid[0].shape[2:]
        levels = [
            F.interpolate(embed(level), size=size, mode="bilinear", align_corners=self.align_corners)
            for embed, level in zip(self.embed, pyramid, strict=True)
        ]
        stack = torch.cat(levels, dim=1)
        return self.classify(self.fuse(torch.cat([branch(stack) for branch in self.branches], dim=1)))

    @property
    def classifier(self) -> nn.Module:
        """The layers that are a label space's own."""
        return self.classify


@MODELS.register(family="transformer", paper="Hoyer et al., CVPR 2022 (arXiv 2111.14887)")
@dataclass(frozen=True)
class DAFormer(ModelSettings):
    """DAFormer: a Mix Transformer and the context-aware fusion head."""

    backbone: str = "mit_b5"
    """mit_b0 ... mit_b5 (needs the package transformers), or a timm model."""
    output_stride: int = 32
    weights: str = "hub"
    """"hub" (nvidia/mit-bN), "timm" for a timm model, "none", or the path of a folder or file."""
    width: int = 256
    """Channels of the head."""
    dilations: tuple[int, ...] = (1, 6, 12, 18)
    """Dilations of the head's branches."""
    dropout: float = 0.1
    """Channel dropout before the classifier, 0..1."""

    def __post_init__(self) -> None:
        if self.backbone.startswith("mit_") and self.output_stride != 32:
            raise UserError(f"model.output_stride of {self.backbone} is 32, got {self.output_stride}.")

    def build_backbone(self) -> nn.Module:
        if self.backbone.startswith("mit_"):
            return build_mix_transformer(self.backbone, self.weights)
        if self.weights == "hub":
            raise UserError(f"model.weights 'hub' are those of mit_b0 ... mit_b5; for {self.backbone} set 'timm'.")
        return build_backbone(self.backbone, self.output_stride, self.weights, skip=True)

    def build(self, num_classes: int) -> PyramidSegmenter:
        backbone = self.build_backbone()
        info = cast(Any, backbone).feature_info
        channels, strides = info.channels(), info.reduction()
        channels_seen, aligned = channels[strides.index(4) :], aligns_corners(backbone)
        head = DAFormerHead(channels_seen, num_classes, self.width, self.dilations, self.dropout, aligned)
        aux = ASPPSum(second_last(channels), num_classes, self.dilations) if self.aux else None
        return PyramidSegmenter(backbone, head, num_classes, aux, self.batch_norm)
