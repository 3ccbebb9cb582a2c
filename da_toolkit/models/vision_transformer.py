"""A plain vision transformer (DINOv2, DINOv3 or any of timm's) with a light head over its last blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.models.backbones import check_name, first_that_works, load_weights, without_memory
from da_toolkit.models.deeplab import ASPPSum, conv_norm_relu
from da_toolkit.models.pyramid import PyramidSegmenter, second_last
from da_toolkit.models.settings import ModelSettings
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
        patch = cast(Any, network).model.patch_embed.patch_size  # one number for some
        self.patch: tuple[int, int] = (patch, patch) if isinstance(patch, int) else patch

    def forward(self, images: Tensor) -> list[Tensor]:
        size = [max(1, round(side / patch)) * patch for side, patch in zip(images.shape[2:], self.patch, strict=True)]
        if list(images.shape[2:]) != size:
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        return self.network(images)


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


@MODELS.register(family="transformer", paper="Oquab et al., TMLR 2024 (arXiv 2304.07193)")
@dataclass(frozen=True)
class VisionTransformer(ModelSettings):
    """A plain vision transformer, by default DINOv2's ViT-B/14, with a light convolutional head."""

    backbone: str = "vit_base_patch14_dinov2.lvd142m"
    """A timm vision transformer, such as vit_base_patch14_dinov2 or vit_base_patch16_dinov3."""
    output_stride: int = 14
    """The backbone's patch, in pixels."""
    blocks: int = 4
    """How many evenly spread blocks, the last one included, the head sees."""
    width: int = 256
    """Channels of the head."""
    dropout: float = 0.1
    """Channel dropout before the classifier, 0..1."""

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise UserError(f"model.blocks must be at least 1, got {self.blocks}.")

    def build_backbone(self) -> nn.Module:
        check_name(self.backbone, "vit_*")
        depth = _depth(self.backbone)
        places = [depth * number // self.blocks - 1 for number in range(1, self.blocks + 1)]
        if min(places) < 0:
            raise UserError(f"model.blocks={self.blocks} is more than the {depth} blocks of {self.backbone}.")
        blocks = {"features_only": True, "out_indices": places}
        settings = first_that_works(self.backbone, [{**blocks, "dynamic_img_size": True}, blocks])
        features = PatchFeatures(load_weights(self.backbone, self.weights, settings))
        if features.patch[0] != self.output_stride:
            raise UserError(
                f"model.output_stride is the patch of {self.backbone}, {features.patch[0]}, got {self.output_stride}."
            )
        return features

    def build(self, num_classes: int) -> PyramidSegmenter:
        backbone = self.build_backbone()
        channels = cast(Any, backbone).feature_info.channels()
        head = BlocksHead(channels, num_classes, self.width, self.dropout)
        aux = ASPPSum(second_last(channels), num_classes, (1, 2)) if self.aux else None
        return PyramidSegmenter(backbone, head, num_classes, aux, self.batch_norm)


def _depth(name: str) -> int:
    """Blocks of a timm vision transformer. Raises `UserError` for another kind of network."""
    network, _ = without_memory(name, {})
    if not hasattr(network, "blocks") or not hasattr(getattr(network, "patch_embed", None), "patch_size"):
        raise UserError(
            f"model.backbone {name!r} is not a plain vision transformer; use DeepLabV2 or DAFormer with it."
        )
    return len(cast(Any, network).blocks)
