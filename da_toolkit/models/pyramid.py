"""A segmentation network: its own normalisation, a backbone's pyramid of feature maps, and a head per level."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self, cast

from torch import Tensor, nn

from da_toolkit.errors import UserError
from da_toolkit.models.backbones import aligns_corners, normalization
from da_toolkit.models.segmenter import Output, Segmenter

BatchNorm = Literal["train", "affine_frozen", "frozen"]


class PyramidSegmenter(Segmenter):
    """Normalisation, backbone, and one head per level.

    Args:
        backbone: images -> feature maps, finest level first, with `feature_info.channels()` as timm has it, and
            `align_corners` where its grids are so arranged.
        head: maps the list of feature maps to logits of the main level.
        num_classes: C.
        aux: head on the second-last level (conv4 of a ResNet), or none.
        batch_norm: "train", "affine_frozen" (scale and shift fixed, running statistics still updated,
            as AdaptSegNet trains) or "frozen" (statistics fixed too).
    """

    heads: ClassVar[tuple[str, ...]] = ("head", "aux")
    """Names of the parts on top of the backbone, of which a network may lack some."""
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
        self.align_corners = aligns_corners(backbone)
        mean, std = normalization(backbone)
        self.register_buffer("mean", mean.view(1, 3, 1, 1))
        self.register_buffer("std", std.view(1, 3, 1, 1))
        if batch_norm != "train":
            for layer in self._backbone_norms():
                layer.requires_grad_(False)

    def _backbone_norms(self) -> list[nn.Module]:
        return [layer for layer in self.backbone.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if mode and self.batch_norm == "frozen":
            for layer in self._backbone_norms():
                layer.eval()
        return self

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """The backbone's feature maps of images [B,3,H,W], finest level first."""
        return self.backbone((images - self.mean) / self.std)

    def forward(self, images: Tensor) -> Output:
        pyramid = self.pyramid(images)
        aux_logits = self.aux(pyramid[-2]) if self.aux is not None else None
        return Output(self.head(pyramid), aux_logits, pyramid[-1], self.align_corners)

    def parameter_groups(self, lr: float, head_multiplier: float) -> list[dict]:
        """Optimiser groups: the backbone at `lr`, the heads at `lr * head_multiplier`."""
        parts = [part for name in self.heads if (part := getattr(self, name)) is not None]
        heads = [parameter for part in parts for parameter in part.parameters()]
        trained = [parameter for parameter in self.backbone.parameters() if parameter.requires_grad]
        return [{"params": trained, "lr": lr}, {"params": heads, "lr": lr * head_multiplier}]


def second_last(channels: Sequence[int]) -> int:
    """Channels of the level that an auxiliary head is put on. Raises `UserError` for a pyramid of one level."""
    if len(channels) < 2:
        raise UserError(
            f"model.aux needs a second level, and the backbone gives {len(channels)}: set model.aux to false, or "
            "model.blocks of a VisionTransformer to 2 or more."
        )
    return channels[-2]


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
        self.align_corners = aligns_corners(backbone)
        mean, std = normalization(backbone)
        self.register_buffer("mean", mean.view(1, 3, 1, 1))
        self.register_buffer("std", std.view(1, 3, 1, 1))

    def train(self, mode: bool = True) -> "ImageFeatures":
        return super().train(False)  # or its statistics would follow the images, and drop paths be drawn

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.backbone((images - self.mean) / self.std)[-self.levels :]
