"""EoMT: a plain vision transformer whose last blocks also carry queries, which say what is where."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.models.backbones import first_that_works, load_weights, without_memory
from da_toolkit.models.deeplab import ASPPSum
from da_toolkit.models.mix_transformer import FeatureInfo
from da_toolkit.models.plain_transformer import PlainTransformer, patch_size, whole_patches
from da_toolkit.models.pyramid import PyramidSegmenter
from da_toolkit.models.segmenter import Output
from da_toolkit.registry import MODELS


class JointFeatures(nn.Module):
    """Images [B,3,H,W] of any size -> maps of up to three blocks before the joint ones, evenly spread, and the last
    one's, one position a patch.

    Args:
        network: timm's vision transformer.
        joint_blocks: its last blocks, through which queries may pass along with the patches.
    """

    def __init__(self, network: nn.Module, joint_blocks: int) -> None:
        super().__init__()
        self.network = network
        self.first = len(cast(Any, network).blocks) - joint_blocks
        self.seen = sorted({max(0, self.first * part // 3 - 1) for part in (1, 2, 3)})
        self.patch = patch_size(network)
        levels = len(self.seen) + 1
        self.feature_info = FeatureInfo([cast(int, network.embed_dim)] * levels, [self.patch[0]] * levels)
        self.pretrained_cfg = cast(Any, network).pretrained_cfg

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.with_queries(images, None)[0]

    def with_queries(self, images: Tensor, queries: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """The maps [B,D,h,w], the last one normalised, and what became of the queries [K,D]: [B,K,D]."""
        images = whole_patches(images, self.patch)
        network = cast(Any, self.network)
        height, width = (side // step for side, step in zip(images.shape[2:], self.patch, strict=True))
        found = network.forward_intermediates(
            images,
            indices=self.seen,
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
            return_prefix_tokens=network.num_prefix_tokens > 0,
        )
        parts = [level if isinstance(level, tuple) else (level,) for level in found]
        patches, *before = parts[-1]
        joining = patches[:, :0] if queries is None else queries.to(patches.dtype).expand(len(patches), -1, -1)
        tokens = torch.cat([*before, joining, patches], dim=1)
        begin, count = network.num_prefix_tokens, joining.shape[1]
        rope = getattr(network, "rope", None)
        place = {} if rope is None else {"rope": _unturned(rope.get_embed(shape=[height, width]), count)}
        for block in network.blocks[self.first :]:
            tokens = block(tokens, **place)
        tokens = network.fc_norm(network.norm(tokens))
        levels = [*(level[0] for level in parts), tokens[:, begin + count :]]
        maps = [level.transpose(1, 2).unflatten(2, (height, width)) for level in levels]
        return maps, tokens[:, begin : begin + count]


def _unturned(rotation: Tensor, count: int) -> Tensor:
    """Rotary position embeddings [N,2d], sines beside cosines, with `count` tokens in front that they do not turn: a
    query has no place in the image."""
    sines, cosines = rotation.new_zeros(count, rotation.shape[1] // 2), rotation.new_ones(count, rotation.shape[1] // 2)
    return torch.cat([torch.cat([sines, cosines], dim=1), rotation])


class QueryHead(nn.Module):
    """What each query is, and where: a class of C or none, and a mask, joined into scores of every pixel.

    The mask of a query is the product of its embedding (a perceptron of three layers) with the patches' map, enlarged
    fourfold by two steps of a transposed and a depthwise convolution (Kerssies et al., CVPR 2025, section 3.2).
    """

    def __init__(self, channels: int, num_classes: int, queries: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(queries, channels))
        nn.init.normal_(self.queries)
        self.enlarge = nn.Sequential(*(layer for _ in range(2) for layer in _twice(channels)))
        self.embed = nn.Sequential(
            nn.Linear(channels, channels),
            nn.GELU(),
            nn.Linear(channels, channels),
            nn.GELU(),
            nn.Linear(channels, channels),
        )
        self.classify = nn.Linear(channels, num_classes + 1)

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """float32 [B,C,4h,4w] of a map [B,D,h,w] and the queries' tokens [B,K,D]."""
        masks = torch.einsum("bkd,bdhw->bkhw", self.embed(queries), self.enlarge(features))
        return joined(self.classify(queries), masks)

    @property
    def classifier(self) -> nn.Module:
        """The layers that are a label space's own."""
        return self.classify


def joined(classes: Tensor, masks: Tensor) -> Tensor:
    """float32 [B,C,h,w]: log P(class c at a pixel), where P is in proportion to the sum over queries k of
    softmax(classes)[k,c] * sigmoid(masks)[k], as mask classification scores semantic classes.

    Args:
        classes: [B,K,C+1] of the queries, the last one for "nothing".
        masks: [B,K,h,w] before the sigmoid.
    """
    # Half precision cannot tell small probabilities from 0. The device of shapes alone knows no precision to leave.
    with nullcontext() if classes.is_meta else torch.autocast(classes.device.type, enabled=False):
        what = classes.float().softmax(2)[..., :-1]
        where = F.logsigmoid(masks.float())
        # A pixel's masks may all be next to 0: what counts are their shares, so its largest one is made 1.
        where = (where - where.amax(1, keepdim=True)).exp()
        scores = torch.einsum("bkc,bkhw->bchw", what, where).clamp(min=torch.finfo(torch.float32).tiny)
        return scores.log() - scores.sum(1, keepdim=True).log()


class QuerySegmenter(PyramidSegmenter):
    """Normalisation, backbone with the head's queries in its last blocks, and the head."""

    def forward(self, images: Tensor) -> Output:
        backbone, head = cast(JointFeatures, self.backbone), cast(QueryHead, self.head)
        maps, queries = backbone.with_queries((images - self.mean) / self.std, head.queries)
        aux_logits = self.aux(maps[-2]) if self.aux is not None else None
        return Output(head(maps[-1], queries), aux_logits, maps[-1])


@MODELS.register(family="transformer", paper="Kerssies et al., CVPR 2025 (arXiv 2503.19108)")
@dataclass(frozen=True)
class EoMT(PlainTransformer):
    """EoMT: a plain vision transformer that takes queries into its last blocks and needs no decoder.

    The logits are log-probabilities, those of all queries joined (`joined`), and losses are those of any other network,
    pixel by pixel. The paper instead assigns queries to the masks of an image (Hungarian matching), with a loss of
    its own for classes and masks, and hides from each query, less and less while it trains, what its mask leaves out.
    Pseudo-labels, their weights, entropies, adversaries and RPT are made of pixels' probabilities; with them here every
    method trains this network, without a matching that would jump with each change of the labels.
    """

    queries: int = 100
    """Learned queries K."""
    joint_blocks: int = 3
    """Last blocks that queries pass through."""

    def __post_init__(self) -> None:
        for name in ("queries", "joint_blocks"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name} must be at least 1, got {getattr(self, name)}.")

    def build_backbone(self) -> nn.Module:
        depth = self.depth()
        if self.joint_blocks >= depth:
            raise UserError(
                f"model.joint_blocks={self.joint_blocks} leaves none of the {depth} blocks of {self.backbone} before "
                f"the queries: set it to {depth - 1} or less."
            )
        whole = {"num_classes": 0}
        settings = first_that_works(self.backbone, [{**whole, "dynamic_img_size": True}, whole])
        made, _ = without_memory(self.backbone, settings)
        if made is None or not _carries_queries(made):
            raise UserError(
                f"model.backbone {self.backbone!r} cannot carry queries, for its attention knows how its tokens lie; "
                "use VisionTransformer with it."
            )
        self.check_patch(patch_size(made))
        return JointFeatures(load_weights(self.backbone, self.weights, settings), self.joint_blocks)

    def build(self, num_classes: int) -> PyramidSegmenter:
        backbone = self.build_adapted()
        channels = cast(Any, backbone).feature_info.channels()
        head = QueryHead(channels[-1], num_classes, self.queries)
        aux = ASPPSum(channels[0], num_classes, (1, 2)) if self.aux else None
        return QuerySegmenter(backbone, head, num_classes, aux, self.batch_norm)


def _carries_queries(network: nn.Module) -> bool:
    """Whether further tokens may join those of a transformer, which may have rotary embeddings, alike in all blocks."""
    from timm.models import eva, vision_transformer

    return type(network) is vision_transformer.VisionTransformer or (
        type(network) is eva.Eva and not getattr(network, "rope_mixed", False)
    )


class _ChannelNorm(nn.LayerNorm):
    """Layer norm of each position's channels, on [B,C,h,w]."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _twice(channels: int) -> list[nn.Module]:
    """A map enlarged twofold."""
    return [
        nn.ConvTranspose2d(channels, channels, 2, 2),
        nn.GELU(),
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        _ChannelNorm(channels),
    ]
