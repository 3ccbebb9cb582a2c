"""ImageNet feature distance: the backbone should not forget what ImageNet taught it about things."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from da_toolkit.data.labels import IGNORE
from da_toolkit.errors import UserError
from da_toolkit.models.grid import pooled
from da_toolkit.registry import REGULARIZERS
from da_toolkit.terms.cross_entropy import mean_where
from da_toolkit.terms.step import Step
from da_toolkit.terms.term import BuildContext, Regularizer, Term


@REGULARIZERS.register("feature_distance", family="self-training", paper="Hoyer et al., CVPR 2022 (arXiv 2111.14887)")
@dataclass(frozen=True)
class FeatureDistance(Regularizer):
    """Distance of source features to those of the frozen ImageNet backbone, where a thing class is (DAFormer)."""

    needs_source: ClassVar[bool] = True
    weight: float = 0.005
    """Weight of the distance."""
    share: float = 0.75
    """A feature position counts if one thing class covers more than this share of it, 0..1."""

    def build(self, context: BuildContext) -> "FeatureDistanceTerm":
        return FeatureDistanceTerm(self, context)


class FeatureDistanceTerm(Term):
    """Loss "feature_distance"."""

    looks_at = ("source",)

    things: Tensor

    def __init__(self, settings: FeatureDistance, context: BuildContext) -> None:
        super().__init__()
        assert context.model is not None
        self.settings, self.num_classes = settings, len(context.label_space)
        self.imagenet = context.model.pretrained()
        things = context.label_space.things
        if not things:
            raise UserError(f"feature_distance needs thing classes, and {context.label_space.name} has none.")
        self.register_buffer("things", torch.tensor(things), persistent=False)

    def losses(self, step: Step) -> dict[str, Tensor]:
        view = step.source
        with torch.no_grad():
            wanted = self.imagenet(view.batch.image)[-1].float()
            share = class_shares(view.label, self.num_classes, wanted.shape[2:], self.imagenet.align_corners)
            counts = share[:, self.things].amax(1) > self.settings.share
        return {"feature_distance": self.settings.weight * feature_distance(view.features.float(), wanted, counts)}


def class_shares(label: Tensor, num_classes: int, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """float32 [B,C,*size]: the share of each position's pixels that are of each class; label int64 [B,H,W]."""
    known = F.one_hot(label.where(label != IGNORE, num_classes), num_classes + 1)[..., :-1]
    return pooled(known.permute(0, 3, 1, 2), size, align_corners)


def feature_distance(features: Tensor, wanted: Tensor, counts: Tensor) -> Tensor:
    """Mean Euclidean distance between features [B,D,h,w] over positions bool [B,h,w]; 0 without any."""
    distance = (features - wanted).square().sum(1).clamp(min=1e-12).sqrt()
    return mean_where(distance, counts)
