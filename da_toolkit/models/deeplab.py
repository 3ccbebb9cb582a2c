"""DeepLab-v2 and a light DeepLab-v3+ on any backbone, with an optional auxiliary level."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.models.backbones import build_backbone, normalization
from da_toolkit.models.segmenter import Output, Segmenter
from da_toolkit.registry import MODELS

BatchNorm = Literal["train", "affine_frozen", "frozen"]


class DeepLab(Segmenter):
    """Normalisation, backbone, and one head per level.

    Args:
        backbone: a timm feature pyramid, finest level first.
        head: maps the list of feature maps to logits of the main level.
        num_classes: C.
        aux: head on the second-last level (conv4 of a ResNet), or none.
        batch_norm: "train", "affine_frozen" (scale and shift fixed, running statistics still updated,
            as AdaptSegNet trains) or "frozen" (statistics fixed too).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        num_classes: int,
        aux: nn.Module | None = None,
        batch_norm: BatchNorm = "train",
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.aux = backbone, head, aux
        self.num_classes = num_classes
        self.feature_channels: int = cast(Any, backbone).feature_info.channels()[-1]
        self.batch_norm = batch_norm
        mean, std = normalization(backbone)
        self.register_buffer("mean", mean.view(1, 3, 1, 1))
        self.register_buffer("std", std.view(1, 3, 1, 1))
        if batch_norm != "train":
            for layer in self._backbone_norms():
                layer.requires_grad_(False)

    def _backbone_norms(self) -> list[nn.Module]:
        return [layer for layer in self.backbone.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]

    def train(self, mode: bool = True) -> "DeepLab":
        super().train(mode)
        if mode and self.batch_norm == "frozen":
            for layer in self._backbone_norms():
                layer.eval()
        return self

    def forward(self, images: Tensor) -> Output:
        pyramid = self.backbone((images - self.mean) / self.std)
        aux_logits = self.aux(pyramid[-2]) if self.aux is not None else None
        return Output(self.head(pyramid), aux_logits, pyramid[-1])

    def parameter_groups(self, lr: float, head_multiplier: float) -> list[dict]:
        """Optimiser groups: the backbone at `lr`, the heads at `lr * head_multiplier`."""
        heads = [*self.head.parameters(), *(self.aux.parameters() if self.aux is not None else ())]
        trained = [parameter for parameter in self.backbone.parameters() if parameter.requires_grad]
        return [{"params": trained, "lr": lr}, {"params": heads, "lr": lr * head_multiplier}]


class ImageFeatures(nn.Module):
    """A frozen backbone: images [B,3,H,W] 0..1 -> features [B,D,h,w] of its last `levels` stages."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, levels: int = 1) -> None:
        super().__init__()
        stages = len(cast(Any, backbone).feature_info)
        if levels > stages:
            raise UserError(f"{levels} levels of features were asked for, but the backbone has {stages} stages.")
        self.levels = levels
        self.backbone = backbone.eval().requires_grad_(False)
        mean, std = normalization(backbone)
        self.register_buffer("mean", mean.view(1, 3, 1, 1))
        self.register_buffer("std", std.view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.backbone((images - self.mean) / self.std)[-self.levels :]


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


class _Last(nn.Module):
    """Applies a layer to the coarsest level of a pyramid."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        return self.layer(pyramid[-1])


def _conv(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _separable(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, inputs, 3, dilation, groups=inputs), _conv(inputs, outputs))


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
    ) -> None:
        super().__init__()
        self.skip_level = skip
        self.reduce = _conv(channels[-1], width)
        self.branches = nn.ModuleList(_separable(width, width, rate) for rate in dilations)
        self.pool = nn.Conv2d(channels[-1], width, 1)
        self.project = _conv(width * (2 + len(dilations)), width)
        self.skip = _conv(channels[skip], width // 2)
        self.fuse = _separable(width + width // 2, width)
        self.classify = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(width, num_classes, 1))

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        last, low = pyramid[-1], pyramid[self.skip_level]
        reduced = self.reduce(last)
        pooled = F.relu(self.pool(last.mean((2, 3), keepdim=True))).expand_as(reduced)
        context = self.project(torch.cat([reduced, *(branch(reduced) for branch in self.branches), pooled], dim=1))
        context = F.interpolate(context, size=low.shape[2:], mode="bilinear")
        return self.classify(self.fuse(torch.cat([context, self.skip(low)], dim=1)))


@dataclass(frozen=True)
class DeepLabSettings:
    """Settings shared by the DeepLab family."""

    backbone: str = "resnet101"
    """timm model name."""
    output_stride: int = 8
    """Input pixels per pixel of the last feature map: 8, 16 or 32."""
    weights: str = "timm"
    """"timm", "packaged" (EfficientNet-Lite0), "none", or the path of a .safetensors or .pth file."""
    batch_norm: BatchNorm = "train"
    """Backbone batch norm: "train", "affine_frozen" (running statistics still updated) or "frozen"."""
    aux: bool = False
    """Add the auxiliary level on the second-last stage, for multi-level methods."""

    def __post_init__(self) -> None:
        if self.output_stride not in (8, 16, 32):
            raise UserError(f"model.output_stride is 8, 16 or 32, got {self.output_stride}.")

    def pretrained(self, levels: int = 1) -> "ImageFeatures":
        """The backbone with the weights that training starts from, frozen."""
        return ImageFeatures(build_backbone(self.backbone, self.output_stride, self.weights), levels)

    def build(self, num_classes: int) -> DeepLab:
        """The network. Raises `UserError` for an unknown backbone or weights that cannot be had."""
        raise NotImplementedError


@MODELS.register(family="cnn", paper="Chen et al., TPAMI 2018 (arXiv 1606.00915)")
@dataclass(frozen=True)
class DeepLabV2(DeepLabSettings):
    """DeepLab-v2: a dilated backbone and the sum of atrous classifiers."""

    dilations: tuple[int, ...] = (6, 12, 18, 24)
    """ASPP branches. AdvEnt sums all four; AdaptSegNet's and DACS's code acts with (6, 12) only."""

    def build(self, num_classes: int) -> DeepLab:
        backbone = build_backbone(self.backbone, self.output_stride, self.weights)
        channels = cast(Any, backbone).feature_info.channels()
        head = _Last(ASPPSum(channels[-1], num_classes, self.dilations))
        aux = ASPPSum(channels[-2], num_classes, self.dilations) if self.aux else None
        return DeepLab(backbone, head, num_classes, aux, self.batch_norm)


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

    def build(self, num_classes: int) -> DeepLab:
        backbone = build_backbone(self.backbone, self.output_stride, self.weights)
        info = cast(Any, backbone).feature_info
        channels, strides = info.channels(), info.reduction()
        if 4 not in strides:
            raise UserError(f"model.backbone {self.backbone!r} has no stride-4 level; use DeepLabV2 with it.")
        head = LightV3PlusHead(channels, strides.index(4), num_classes, self.width, self.dilations, self.dropout)
        aux = ASPPSum(channels[-2], num_classes, self.dilations) if self.aux else None
        return DeepLab(backbone, head, num_classes, aux, self.batch_norm)
