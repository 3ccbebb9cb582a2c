"""HRDA: any pyramid network, looking at the whole image at half resolution and at details at full."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.models.daformer import DAFormer
from da_toolkit.models.grid import enlarged, pooled, window_starts
from da_toolkit.models.mlp_head import MLPHead
from da_toolkit.models.pyramid import BatchNorm, ImageFeatures, PyramidSegmenter
from da_toolkit.models.segmenter import Detail, Output
from da_toolkit.models.settings import ModelSettings
from da_toolkit.models.trial import output_shapes
from da_toolkit.models.warm_start import ClassesOf
from da_toolkit.ranks.parallel import random_rows
from da_toolkit.registry import MODELS

SCALE = 2
"""Pixels of the image per pixel of the context, along a side: s of the paper."""
_TRIED = (448, 448)  # a multiple of all usual strides and patches: 14, 16, 32


def fused(context: Tensor, attention: Tensor, detail: Tensor) -> Tensor:
    """zeta((1 - a) y_c, s) + zeta(a, s) y_d, zeta bilinear (Hoyer et al., ECCV 2022, section 3.2).

    Args:
        context: y_c, logits [B,C,h,w].
        attention: a, 0..1, [B,C,h,w]; 0 where there is no detail.
        detail: y_d, logits [B,C,s*h,s*w].

    Returns:
        float32 [B,C,s*h,s*w].
    """
    size = detail.shape[2:]
    return enlarged((1 - attention) * context, size, False) + enlarged(attention, size, False) * detail


class HRDASegmenter(PyramidSegmenter):
    """In training mode one random detail crop of each image is looked at; otherwise windows that cover all of it.

    Everything lies on a grid of cells, the pixels that one position of the context's logits stands for: k = s * o
    pixels a side, o being the network's output stride. Crops begin at cells' borders, so both resolutions' features
    lie alike.

    Args:
        network: gives backbone and head, which both resolutions share.
        attention: maps the context's pyramid and a size to logits [B,C,h,w] of the attention.
        stride: pixels of what the network sees per position of its logits, o.
        detail: side of the crop, as a share 0..1 of the image's.
        detail_weight: lambda_d, 0..1.
    """

    heads = ("head", "aux", "attention")

    def __init__(
        self, network: PyramidSegmenter, attention: nn.Module, stride: int, detail: float, detail_weight: float
    ) -> None:
        super().__init__(network.backbone, network.head, network.num_classes, None, network.batch_norm)
        self.attention = attention
        self.cell = SCALE * stride
        self.detail, self.detail_weight = detail, detail_weight

    def forward(self, images: Tensor) -> Output:
        images = self._of_whole_cells(images)
        rows, columns = images.shape[2] // self.cell, images.shape[3] // self.cell
        pyramid = self.pyramid(halved(images))
        context = self.head(pyramid).float()
        if context.shape[2:] != (rows, columns):
            raise ValueError(f"HRDA expects logits of {rows}x{columns} positions of the half-size image")
        attention = self.attention(pyramid, (rows, columns)).float().sigmoid()
        crop = (max(1, round(self.detail * rows)), max(1, round(self.detail * columns)))
        if not self.training:
            return Output(fused(context, attention, self._slid(images, crop)), None, pyramid[-1])
        corners = random_corners(len(images), rows - crop[0], columns - crop[1])
        detail = self._closely(torch.cat([self._cut(images[[i]], corners[i], crop) for i in range(len(images))]), crop)
        placed = detail.new_zeros(*context.shape[:2], SCALE * rows, SCALE * columns)
        inside = context.new_zeros(len(images), 1, rows, columns)
        for image, (top, left) in enumerate(corners):
            inside[image, :, top : top + crop[0], left : left + crop[1]] = 1
            place = _square(SCALE * top, SCALE * left, SCALE * crop[0], SCALE * crop[1])
            placed[image][place] = detail[image]
        seen = Detail(
            detail,
            tuple((self.cell * top, self.cell * left) for top, left in corners),
            (self.cell * crop[0], self.cell * crop[1]),
            self.detail_weight,
        )
        return Output(fused(context, inside * attention, placed), None, pyramid[-1], detail=seen)

    def _of_whole_cells(self, images: Tensor) -> Tensor:
        """Outside training, images of other sizes are stretched to the next whole cells; no more than one a side.

        Raises ValueError in training, where labels of the crop would not lie on it.
        """
        height, width = (-(-side // self.cell) * self.cell for side in images.shape[2:])
        if (height, width) == tuple(images.shape[2:]):
            return images
        if self.training:
            raise ValueError(
                f"HRDA trains on sides that are multiples of {self.cell}, twice the stride of the network's logits"
            )
        return F.interpolate(images.float(), size=(height, width), mode="bilinear", align_corners=False)

    def _closely(self, crops: Tensor, crop: tuple[int, int]) -> Tensor:
        """float32 [N,C,s*h,s*w], logits of crops [N,3,H,W] of h x w cells at full resolution."""
        logits = self.head(self.pyramid(crops)).float()
        if logits.shape[2:] != (SCALE * crop[0], SCALE * crop[1]):
            raise ValueError(f"HRDA cannot lay logits of {tuple(logits.shape[2:])} on a crop of {crop} cells")
        return logits

    def _slid(self, images: Tensor, crop: tuple[int, int]) -> Tensor:
        """float32 [B,C,s*rows,s*columns]: the mean of the logits of all windows, each half a crop from the next.

        They are one batch, so that batch norms that go by their batch's statistics (a teacher's) see all of the image.
        """
        rows, columns = images.shape[2] // self.cell, images.shape[3] // self.cell
        downs = window_starts(rows, crop[0], max(1, crop[0] // 2))
        rights = window_starts(columns, crop[1], max(1, crop[1] // 2))
        corners = [(top, left) for top in downs for left in rights]
        logits = self._closely(torch.cat([self._cut(images, corner, crop) for corner in corners]), crop)
        total = logits.new_zeros(len(images), logits.shape[1], SCALE * rows, SCALE * columns)
        counts = logits.new_zeros(1, 1, *total.shape[2:])
        for (top, left), part in zip(corners, logits.split(len(images)), strict=True):
            place = _square(SCALE * top, SCALE * left, SCALE * crop[0], SCALE * crop[1])
            total[place] += part
            counts[place] += 1
        return total / counts

    def _cut(self, images: Tensor, corner: tuple[int, int], crop: tuple[int, int]) -> Tensor:
        """The crop of h x w cells from a corner, given in cells, of all images [B,3,H,W]."""
        return images[_square(*(self.cell * value for value in (*corner, *crop)))]


def halved(images: Tensor) -> Tensor:
    """float32 [B,C,H/s,W/s], rounded up: the context, bilinearly shrunk images [B,C,H,W]."""
    return pooled(images, [-(-side // SCALE) for side in images.shape[2:]], False)


def random_corners(count: int, down: int, right: int) -> list[tuple[int, int]]:
    """For each of this rank's images, whole numbers drawn evenly from 0..down and 0..right.

    Drawn on the CPU, so that nothing waits for the device.
    """
    draws = random_rows(count, 2, torch.device("cpu")).tolist()
    return [(min(down, int(y * (down + 1))), min(right, int(x * (right + 1)))) for y, x in draws]


def _square(top: int, left: int, height: int, width: int) -> tuple[Any, ...]:
    return (..., slice(top, top + height), slice(left, left + width))


class ContextFeatures(ImageFeatures):
    """A frozen backbone's features of the context: what `HRDASegmenter` gives as features, before it was trained."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return super().forward(halved(images))


@MODELS.register(family="multi-resolution", paper="Hoyer et al., ECCV 2022 (arXiv 2204.13132)")
@dataclass(frozen=True)
class HRDA(ModelSettings):
    """Context at half resolution, details at full, fused by a learned scale attention, with any network.

    In training the detail is a random crop of each image. Cross-entropies of hard labels, also of those that a teacher
    or a frozen copy gives, are taken of the fused logits and, with `detail_weight`, of the crop's; all other losses,
    those of soft labels (CRST, CoTTA) too, see the fused logits. In evaluation, and where a teacher labels, overlapping
    windows cover the image. Features are those of the context.
    """

    network: ModelSettings = field(default_factory=DAFormer)
    """The network that looks at both."""
    detail: float = 0.5
    """Side of the detail crop, and of the windows, as a share 0..1 of the image's (published 512 of 1024)."""
    detail_weight: float = 0.1
    """Share 0..1 of the cross-entropies that the detail crop has."""
    attention_width: int = 256
    """Channels of the attention's head, SegFormer's."""

    # What is asked of any network is the inner one's; it is set there.
    backbone: str = field(init=False, repr=False)
    output_stride: int = field(init=False, repr=False)
    weights: str = field(init=False, repr=False)
    batch_norm: BatchNorm = field(init=False, repr=False)
    aux: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.network, ModelSettings):
            raise UserError(
                f"model.network must be the settings of a network, such as DAFormer(); got {self.network!r}."
            )
        if isinstance(self.network, HRDA):
            raise UserError("model.network: HRDA cannot be put around HRDA; give it DAFormer() or another network.")
        for setting in dataclasses.fields(ModelSettings):
            object.__setattr__(self, setting.name, getattr(self.network, setting.name))
        if self.aux:
            raise UserError("model.network.aux: HRDA has no auxiliary level: set it to false.")
        if not 0 < self.detail <= 1:
            raise UserError(f"model.detail is a share of the image's side above 0 and up to 1, got {self.detail}.")
        if not 0 <= self.detail_weight <= 1:
            raise UserError(f"model.detail_weight lies in 0..1, got {self.detail_weight}.")
        if self.attention_width < 1:
            raise UserError(f"model.attention_width must be at least 1, got {self.attention_width}.")

    def with_weights(self, weights: str) -> Self:
        return dataclasses.replace(self, network=self.network.with_weights(weights))

    def with_network(self, network: ModelSettings) -> ModelSettings:
        return dataclasses.replace(self, network=network)

    def build_backbone(self) -> nn.Module:
        with _settings_of_the_network():
            return self.network.build_backbone()

    def pretrained(self, levels: int = 1) -> ImageFeatures:
        return ContextFeatures(self.build_backbone(), levels)

    def build(self, num_classes: int) -> HRDASegmenter:
        with _settings_of_the_network():
            network = self.network.build(num_classes)
        if type(network) is not PyramidSegmenter:
            raise UserError(
                f"model.network: HRDA needs a network of a backbone and a head, and {type(self.network).__name__} "
                f"builds a {type(network).__name__}."
            )
        if network.align_corners:
            raise UserError(
                f"model.network.backbone {self.backbone} lays its positions from corner to corner, and HRDA needs them "
                "in the middle of cells: choose another, such as resnet101.tv_in1k."
            )
        channels = cast(Any, network.backbone).feature_info.channels()
        attention = MLPHead(channels, num_classes, self.attention_width, dropout=0.1)
        return HRDASegmenter(network, attention, logits_stride(network), self.detail, self.detail_weight)

    def warm_start(self, network: PyramidSegmenter, classes: Sequence[str], classes_of: ClassesOf) -> list[str]:
        with _settings_of_the_network():
            return super().warm_start(network, classes, classes_of)


def logits_stride(network: PyramidSegmenter) -> int:
    """Pixels of an image per position of the network's logits. Raises `UserError` if it is not one whole number."""
    try:
        try:
            logits = output_shapes(network, _TRIED).logits
        except Exception:  # a few operations are unknown to the meta device
            logits = output_shapes(network, _TRIED, really=True).logits
    except Exception as error:  # networks refuse sizes in many ways
        raise UserError(
            "model.network: HRDA gives the network images of several sizes, and it cannot take "
            f"{_TRIED[0]}x{_TRIED[1]}: {' '.join(str(error).split())[:200]}. Choose another backbone."
        ) from error
    strides = {side / positions for side, positions in zip(_TRIED, logits.shape[2:], strict=True)}
    stride = strides.pop()
    if strides or stride % 1:
        raise UserError(
            f"model.network: HRDA needs logits that lie a whole number of pixels apart, and {_TRIED[0]}x{_TRIED[1]} "
            f"pixels give {tuple(logits.shape[2:])}. Choose another backbone or output_stride."
        )
    return int(stride)


@contextmanager
def _settings_of_the_network() -> Iterator[None]:
    """What the network's settings say of `model.` they say of `model.network.`."""
    try:
        yield
    except UserError as error:
        raise UserError(re.sub(r"\bmodel\.", "model.network.", str(error))) from error
