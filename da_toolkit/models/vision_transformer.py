"""A plain vision transformer (DINOv2, DINOv3 or any of timm's) with a light head over its blocks, or DAFormer's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.models.backbones import first_that_works, load_weights
from da_toolkit.models.daformer import DAFormerHead
from da_toolkit.models.deeplab import ASPPSum, conv_norm_relu
from da_toolkit.models.plain_transformer import PlainTransformer, patch_size, whole_patches
from da_toolkit.models.pyramid import PyramidSegmenter, second_last
from da_toolkit.registry import MODELS


class PatchFeatures(nn.Module):
    """Images [B,3,H,W] of any size -> maps of some blocks, one position a patch.

    Images are brought to the nearest multiple of the patch, at least one patch a side.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.feature_info = cast(Any, network).feature_info
        self.pretrained_cfg = cast(Any, network).model.pretrained_cfg
        self.patch = patch_size(cast(Any, network).model)

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.network(whole_patches(images, self.patch))


class BlocksHead(nn.Module):
    """The blocks' maps side by side, a 1x1 and a 3x3 convolution, dropout, classifier."""

    def __init__(self, channels: Sequence[int], num_classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv_norm_relu(sum(channels), width),
            conv_norm_relu(width, width, 3),
            nn.Dropout2d(dropout),
            nn.Conv2d(width, num_classes, 1),
        )

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        return self.layers(torch.cat(pyramid, dim=1))

    @property
    def classifier(self) -> nn.Module:
        """The layers that are a label space's own."""
        return self.layers[-1]


class SimplePyramid(nn.Module):
    """Four maps of a quarter, a half, one and two patches a position, all from one map [B,D,h,w] (ViTDet; Li et al.,
    ECCV 2022, section 3): transposed convolutions of stride 2, the map itself, and means of it.

    Means rather than ViTDet's maxima over 2x2: shares of an odd map stay in their place, and 518 pixels are 37 patches.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.channels = [quarter, half, channels, channels]
        self.finest = nn.Sequential(
            nn.ConvTranspose2d(channels, half, 2, 2),
            nn.BatchNorm2d(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, 2),
        )
        self.fine = nn.ConvTranspose2d(channels, half, 2, 2)

    def forward(self, features: Tensor) -> list[Tensor]:
        height, width = (-(-side // 2) for side in features.shape[2:])
        coarse = F.adaptive_avg_pool2d(features, (height, width))
        return [self.finest(features), self.fine(features), features, coarse]


class SimplePyramidHead(nn.Module):
    """DAFormer's head on the simple pyramid of the last block; logits have a quarter of a patch a position."""

    def __init__(self, channels: int, num_classes: int, width: int, dilations: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.pyramid = SimplePyramid(channels)
        self.fusion = DAFormerHead(self.pyramid.channels, num_classes, width, dilations, dropout)

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        return self.fusion(self.pyramid(pyramid[-1]))

    @property
    def classifier(self) -> nn.Module:
        """The layers that are a label space's own."""
        return self.fusion.classifier


@MODELS.register(family="transformer", paper="Oquab et al., TMLR 2024 (arXiv 2304.07193)")
@dataclass(frozen=True)
class VisionTransformer(PlainTransformer):
    """A plain vision transformer, by default DINOv2's ViT-B/14, with a light convolutional head or DAFormer's."""

    head: Literal["light", "daformer"] = "light"
    """"light": two convolutions over some blocks' maps; "daformer": DAFormer's on a pyramid of the last block's map."""
    blocks: int = 4
    """How many evenly spread blocks, the last one included, the light head sees."""
    width: int = 256
    """Channels of the head."""
    dilations: tuple[int, ...] = (1, 6, 12, 18)
    """Dilations of the branches of DAFormer's head."""
    dropout: float = 0.1
    """Channel dropout before the classifier, 0..1."""

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise UserError(f"model.blocks must be at least 1, got {self.blocks}.")

    def build_backbone(self) -> nn.Module:
        depth = self.depth()
        places = [depth * number // self.blocks - 1 for number in range(1, self.blocks + 1)]
        if min(places) < 0:
            raise UserError(f"model.blocks={self.blocks} is more than the {depth} blocks of {self.backbone}.")
        blocks = {"features_only": True, "out_indices": places}
        settings = first_that_works(self.backbone, [{**blocks, "dynamic_img_size": True}, blocks])
        features = PatchFeatures(load_weights(self.backbone, self.weights, settings))
        self.check_patch(features.patch)
        return features

    def build(self, num_classes: int) -> PyramidSegmenter:
        backbone = self.build_adapted()
        channels = cast(Any, backbone).feature_info.channels()
        head: nn.Module
        if self.head == "daformer":
            head = SimplePyramidHead(channels[-1], num_classes, self.width, self.dilations, self.dropout)
        else:
            head = BlocksHead(channels, num_classes, self.width, self.dropout)
        aux = ASPPSum(second_last(channels), num_classes, (1, 2)) if self.aux else None
        return PyramidSegmenter(backbone, head, num_classes, aux, self.batch_norm)
