"""Segmentation networks, their backbones, and discriminators."""

from da_toolkit.models.adapters import LoRA
from da_toolkit.models.daformer import DAFormer
from da_toolkit.models.deeplab import DeepLabV2, LightDeepLabV3Plus
from da_toolkit.models.eomt import EoMT
from da_toolkit.models.hrda import HRDA
from da_toolkit.models.settings import ModelSettings
from da_toolkit.models.vision_transformer import VisionTransformer
from da_toolkit.registry import MODELS

__all__ = [
    "HRDA",
    "MODELS",
    "DAFormer",
    "DeepLabV2",
    "EoMT",
    "LightDeepLabV3Plus",
    "LoRA",
    "ModelSettings",
    "VisionTransformer",
]
