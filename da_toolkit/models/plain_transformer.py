"""What networks on a plain vision transformer share: whole patches, its layers, and how much of it learns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.models.adapters import LoRA, adapted
from da_toolkit.models.backbones import check_name, without_memory
from da_toolkit.models.settings import ModelSettings


@dataclass(frozen=True)
class PlainTransformer(ModelSettings):
    """Settings of networks on one of timm's plain vision transformers, by default DINOv2's ViT-B/14."""

    backbone: str = "vit_base_patch14_dinov2.lvd142m"
    """A timm vision transformer, such as vit_base_patch14_dinov2 or vit_base_patch16_dinov3."""
    output_stride: int = 14
    """The backbone's patch, in pixels."""
    weights: str = "timm"
    """"timm" (downloaded or cached), "none", or the path of a file or folder: timm's, the authors' own of DINOv2 or
    DINOv3, or a run's, whose decoder is then taken too."""
    adapt: Literal["all", "lora", "frozen"] = "all"
    """What of the backbone learns: all of it, low-rank adapters (needs the package peft), or nothing."""
    lora: LoRA = field(default_factory=LoRA)

    def depth(self) -> int:
        """Blocks of the backbone. Raises `UserError` for an unknown name or another kind of network."""
        check_name(self.backbone, "vit_*")
        network, _ = without_memory(self.backbone, {})
        if not hasattr(network, "blocks") or not hasattr(getattr(network, "patch_embed", None), "patch_size"):
            raise UserError(
                f"model.backbone {self.backbone!r} is not a plain vision transformer; use DeepLabV2 or DAFormer with "
                "it."
            )
        return len(cast(Any, network).blocks)

    def check_patch(self, patch: tuple[int, int]) -> None:
        """Raises `UserError` where `output_stride` is not the backbone's patch."""
        if patch[0] != self.output_stride:
            raise UserError(
                f"model.output_stride is the patch of {self.backbone}, {patch[0]}, got {self.output_stride}."
            )

    def build_adapted(self) -> nn.Module:
        """The backbone with its start weights, of which what `adapt` says learns."""
        backbone = self.build_backbone()
        if self.adapt == "frozen":
            backbone.requires_grad_(False)
        if self.adapt == "lora":
            adapted(backbone, cast(Any, vision_transformer(backbone)).blocks, self.lora)
        return backbone


def vision_transformer(backbone: nn.Module) -> nn.Module | None:
    """timm's plain vision transformer within a backbone; nothing where there is none."""
    kinds = ("blocks", "patch_embed", "group_matcher")
    return next((part for part in backbone.modules() if all(hasattr(part, kind) for kind in kinds)), None)


def layers(backbone: nn.Module) -> tuple[dict[int, int], int]:
    """The layer of each parameter of a plain vision transformer, by its `id`, and the last layer's number.

    Patch, position and token embeddings are layer 0, the blocks 1 to the depth; what comes after them belongs to the
    last. As timm counts.

    Raises:
        UserError: the backbone is no plain vision transformer.
    """
    network = vision_transformer(backbone)
    if network is None:
        raise UserError(
            "optimizer.layer_decay counts the blocks of a plain vision transformer, and model.backbone is another "
            "network: set optimizer.layer_decay to 1, or take VisionTransformer or EoMT."
        )
    from timm.models import group_parameters

    depth = len(cast(Any, network).blocks)
    found = group_parameters(network, cast(Any, network).group_matcher(coarse=False), reverse=True)
    parameters = dict(network.named_parameters())
    return {id(parameters[name]): min(int(layer), depth) for name, layer in found.items()}, depth


def patch_size(network: nn.Module) -> tuple[int, int]:
    """Height and width of a vision transformer's patches."""
    patch = cast(Any, network).patch_embed.patch_size  # one number for some
    return (patch, patch) if isinstance(patch, int) else patch


def whole_patches(images: Tensor, patch: Sequence[int]) -> Tensor:
    """Images [B,3,H,W] brought to the nearest multiple of the patch, at least one patch a side."""
    size = [max(1, round(side / step)) * step for side, step in zip(images.shape[2:], patch, strict=True)]
    if list(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)
