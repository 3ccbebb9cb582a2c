"""DeepLab-v2 and a light DeepLab-v3+ on any backbone, with an optional auxiliary level."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.models.backbones import aligns_corners, build_backbone
from da_toolkit.models.pyramid import PyramidSegmenter, second_last
from da_toolkit.models.settings import ModelSettings
from da_toolkit.registry import MODELS


class ASPPSum(nn.Module):
    """Atrous classifier of DeepLab-v2 (Chen et al., TPAMI 2018): the sum of dilated 3x3 convolutions."""

    def __init__(self, channels: int, num_classes: int, dilations: Sequence[int]) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(channels, num_classes, 3, padding=rate, dilation=rate) for rate in dilations]
        for convolution in convolutions:
            nn.init.normal_(convolution.weight, std=0.01)
            nn.init.constant_(cast(Tensor, convolution.bias), 0)
        self.branches = nn.ModuleList(convolutions)

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack([branch(features) for branch in self.branches]).sum(0)

    @property
    def classifier(self) -> nn.Module:
        """The layers that are a label space's own."""
        return self


class _Last(nn.Module):
    """Applies a layer to the coarsest level of a pyramid."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        return self.layer(pyramid[-1])

    @property
    def classifier(self) -> nn.Module:
        """The layers that are a label space's own."""
        return self.layer


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution that keeps the size, batch norm, ReLU."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def separable(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    """Depthwise 3x3, then 1x1 convolution."""
    return nn.Sequential(conv_norm_relu(inputs, inputs, 3, dilation, groups=inputs), conv_norm_relu(inputs, outputs))


class LightV3PlusHead(nn.Module):
    """DeepLab-v3+ decoder (Chen et al., ECCV 2018) with depthwise separable ASPP and a stride-4 skip."""

    def __init__(
        self,
        channels: list[int],
        skip: int,
        num_classes: int,
        width: int,
        dilations: Sequence[int],
        dropout: float,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.skip_level, self.align_corners = skip, align_corners
        self.reduce = conv_norm_relu(channels[-1], width)
        self.branches = nn.ModuleList(separable(width, width, rate) for rate in dilations)
        self.pool = nn.Conv2d(channels[-1], width, 1)
        self.project = conv_norm_relu(width * (2 + len(dilations)), width)
        self.skip = conv_norm_relu(channels[skip], width // 2)
        self.fuse = separable(width + width // 2, width)
        self.classify = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(width, num_classes, 1))

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        last, low = pyramid[-1], pyramid[self.skip_level]
        reduced = self.reduce(last)
        pooled = F.relu(self.pool(last.mean((2, 3), keepdim=True))).expand_as(reduced)
        context = self.project(torch.cat([reduced, *(branch(reduced) for branch in self.branches), pooled], dim=1))
        context = F.interpolate(context, size=low.shape[2:], mode="bilinear", align_corners=self.align_corners)
        return self.classify(self.fuse(torch.cat([context, self.skip(low)], dim=1)))

    @property
    def classifier(self) -> nn.Module:
        """The layers that are a label space's own."""
        return self.classify


@dataclass(frozen=True)
class DeepLabSettings(ModelSettings):
    """Settings of the DeepLab family: `backbone` is a timm model or resnet101_caffe, whose later stages dilate to
    `output_stride`."""

    def __post_init__(self) -> None:
        if self.output_stride not in (8, 16, 32):
            raise UserError(f"model.output_stride is 8, 16 or 32, got {self.output_stride}.")

    def build_backbone(self) -> nn.Module:
        return build_backbone(self.backbone, self.output_stride, self.weights)


@MODELS.register(family="cnn", paper="Chen et al., TPAMI 2018 (arXiv 1606.00915)")
@dataclass(frozen=True)
class DeepLabV2(DeepLabSettings):
    """DeepLab-v2: a dilated backbone and the sum of atrous classifiers."""

    dilations: tuple[int, ...] = (6, 12, 18, 24)
    """ASPP branches. AdvEnt sums all four; AdaptSegNet's and DACS's code acts with (6, 12) only."""

    def build(self, num_classes: int) -> PyramidSegmenter:
        backbone = self.build_backbone()
        channels = cast(Any, backbone).feature_info.channels()
        head = _Last(ASPPSum(channels[-1], num_classes, self.dilations))
        aux = ASPPSum(second_last(channels), num_classes, self.dilations) if self.aux else None
        return PyramidSegmenter(backbone, head, num_classes, aux, self.batch_norm)


@MODELS.register(family="cnn", paper="Chen et al., ECCV 2018 (arXiv 1802.02611)")
@dataclass(frozen=True)
class LightDeepLabV3Plus(DeepLabSettings):
    """A light DeepLab-v3+: separable ASPP and a decoder with a stride-4 skip, for small machines."""

    backbone: str = "tf_efficientnet_lite0"
    output_stride: int = 16
    weights: str = "packaged"
    width: int = 96
    """Channels of the head."""
    dilations: tuple[int, ...] = (3, 6, 9)
    """Dilations of the separable ASPP branches."""
    dropout: float = 0.1
    """Channel dropout before the classifier, 0..1."""

    def build_backbone(self) -> nn.Module:
        return build_backbone(self.backbone, self.output_stride, self.weights, skip=True)

    def build(self, num_classes: int) -> PyramidSegmenter:
        backbone = self.build_backbone()
        info = cast(Any, backbone).feature_info
        channels, strides = info.channels(), info.reduction()
        skip, aligned = strides.index(4), aligns_corners(backbone)
        head = LightV3PlusHead(channels, skip, num_classes, self.width, self.dilations, self.dropout, aligned)
        aux = ASPPSum(second_last(channels), num_classes, self.dilations) if self.aux else None
        return PyramidSegmenter(backbone, head, num_classes, aux, self.batch_norm)
