"""What the settings of every segmentation network promise."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import nn

from da_toolkit.models.backbones import WORDS
from da_toolkit.models.pyramid import BatchNorm, ImageFeatures, PyramidSegmenter
from da_toolkit.models.warm_start import ClassesOf, warm_start


@dataclass(frozen=True)
class ModelSettings:
    """Settings shared by all networks."""

    backbone: str = "resnet101.tv_in1k"
    """Name of the backbone."""
    output_stride: int = 8
    """Input pixels per pixel of the last feature map."""
    weights: str = "timm"
    """"timm" or "hub" (downloaded or cached), "packaged" (EfficientNet-Lite0), "none", or the path of a file or folder,
    also of a run, whose decoder is then taken too, and whose classifier where its classes are the same.
    "caffe_imagenet" and "caffe_coco" stand in published recipes for the file that you give instead."""
    batch_norm: BatchNorm = "train"
    """Backbone batch norm: "train", "affine_frozen" (running statistics still updated) or "frozen"."""
    aux: bool = False
    """Add the auxiliary level on the second-last feature map, for multi-level methods."""

    def build_backbone(self) -> nn.Module:
        """The backbone with the weights that training starts from.

        Raises `UserError` for an unknown backbone or weights that cannot be had.
        """
        raise NotImplementedError

    def pretrained(self, levels: int = 1) -> ImageFeatures:
        """The same, frozen, giving its last `levels` feature maps."""
        return ImageFeatures(self.build_backbone(), levels)

    def build(self, num_classes: int) -> PyramidSegmenter:
        """The network. Raises `UserError` as `build_backbone` does."""
        raise NotImplementedError

    def with_weights(self, weights: str) -> Self:
        """These settings with other start weights, such as "none"."""
        return dataclasses.replace(self, weights=weights)

    def with_network(self, network: "ModelSettings") -> "ModelSettings":
        """These settings around another network: that network itself, but for settings that only wrap one (`HRDA`)."""
        return network

    def warm_start(self, network: PyramidSegmenter, classes: Sequence[str], classes_of: ClassesOf) -> list[str]:
        """Give what `build` has built the decoder of a run that `weights` names, and tell what was loaded.

        Args:
            classes: names of the network's classes, in their order.
            classes_of: reads those of that run from its `recipe.json`.

        Returns:
            What starts from random numbers all the same, with the reason; empty if the whole network is that run's.
        """
        if self.weights in WORDS:
            return [f"the head starts anew, for model.weights {self.weights!r} names no run"]
        return warm_start(network, self.weights, self.backbone, classes, classes_of)
