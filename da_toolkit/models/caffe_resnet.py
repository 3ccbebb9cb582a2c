"""The ResNet of DeepLab's Caffe release, on which most domain adaptation was published, out of timm's parts.

Other than timm's and torchvision's, a block strides in its first 1x1 convolution, a stage's dilation is in its first
block already, the max-pool rounds up, which makes the grid odd and its corners aligned, and the input is BGR of 0..255
minus a mean.
"""

from typing import Any, cast

from torch import Tensor, nn

CAFFE = {"resnet50_caffe": "resnet50", "resnet101_caffe": "resnet101"}
"""Names of such backbones, and of the network in timm that has the same tensors under the same names."""

FILES = {
    "caffe_imagenet": "ImageNet (such as DeepLab_resnet_pretrained_imagenet.pth, in other papers' releases "
    "DeepLab_resnet_pretrained_init)",
    "caffe_coco": "ImageNet and COCO (such as resnet101COCO or MS_DeepLab_resnet_pretrained_COCO_init)",
}
"""Words for weights that papers started from and nothing downloads: what they were trained on."""

MEAN = (122.67891434, 116.66876762, 104.00698793)  # red, green, blue


def caffe_resnet(name: str, output_stride: int) -> nn.Module:
    """The network as a pyramid with random weights: RGB images less `MEAN` over 255, times 255 -> maps [B,C,h,w].

    Args:
        name: one of `CAFFE`.
        output_stride: 8, 16 or 32, of the last map.
    """
    import timm  # two seconds that the command line need not pay

    pyramid = cast(Any, timm.create_model(CAFFE[name], features_only=True, output_stride=output_stride))
    pyramid["maxpool"] = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for block in pyramid[stage]:
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
            block.conv2.dilation = block.conv2.padding = (block.dilation, block.dilation)
    pyramid.pretrained_cfg = {"mean": tuple(channel / 255 for channel in MEAN), "std": (1 / 255,) * 3}
    pyramid.align_corners = True
    pyramid.register_forward_pre_hook(_reversed)  # a wrapper would rename the weights
    return pyramid


def _reversed(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """RGB as BGR."""
    return (inputs[0].flip(1),)
