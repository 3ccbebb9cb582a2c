"""Prototype re-weighting (ProDA): pseudo-labels corrected by how near a pixel's feature is to each class's mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.methods.supervised import SourceOnly
from da_toolkit.methods.teacher import Teacher
from da_toolkit.methods.term import BuildContext, Reads, Regularizer, Term
from da_toolkit.registry import METHODS, REGULARIZERS
from da_toolkit.training.parallel import sum_over_ranks
from da_toolkit.training.stages import Stage, StageContext
from da_toolkit.training.step import Step, View


@REGULARIZERS.register("prototypes", family="self-training", paper="Zhang et al., CVPR 2021 (arXiv 2101.10979)")
@dataclass(frozen=True)
class Prototypes(Regularizer):
    """Soft labels of the round's start times the softness of distances to class prototypes; symmetric cross-entropy.

    ProDA's first stage without its structure learning. Prototypes follow a momentum network on the target.
    """

    weight: float = 1.0
    """Weight of the loss."""
    temperature: float = 1.0
    """Of the distances' softmax."""
    momentum: float = 0.999
    """Of the network whose features are compared, 0..1."""
    prototype_momentum: float = 0.999
    """Of the prototypes, 0..1 (published 0.9999, for runs many times longer)."""
    cross_entropy: float = 0.1
    """Weight of the cross-entropy in the symmetric one."""
    reverse: float = 1.0
    """Weight of its reverse, whose log of 0 counts as log 1e-4."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise UserError(f"prototypes.temperature must be positive, got {self.temperature}.")
        for name in ("momentum", "prototype_momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"prototypes.{name} lies in 0..1, got {getattr(self, name)}.")

    def check(self, stages: Sequence[Stage], reads: Reads) -> None:
        if not any(stage.round for stage in stages):
            raise UserError(
                "Prototypes are made in rounds, but no stage of the schedule is one: add `*rounds(3, steps=...)` to "
                "its stages."
            )

    def build(self, context: BuildContext) -> "PrototypeTerm":
        return PrototypeTerm(self, context)


class PrototypeTerm(Term):
    """Loss "prototypes" from the first round on."""

    centres: Tensor
    known: Tensor

    def __init__(self, settings: Prototypes, context: BuildContext) -> None:
        super().__init__()
        self.settings = settings
        self.frozen, self.momentum = Teacher(context.network), Teacher(context.network)
        classes = len(context.label_space)
        self.register_buffer("centres", torch.zeros(classes, context.feature_channels))
        self.register_buffer("known", torch.zeros(classes, dtype=torch.bool))
        self.active = False
        self.seen: tuple[Tensor, Tensor] | None = None

    def begin_stage(self, stage: StageContext) -> None:
        if stage.stage.round == 0:
            return
        self.frozen.copy_from(stage.model)
        self.momentum.copy_from(stage.model)
        sums = torch.zeros_like(self.centres, dtype=torch.float64)  # in which the order hardly matters
        counts = sums.new_zeros(len(sums))

        def see(view: View) -> None:
            label = F.adaptive_avg_pool2d(
                view.probabilities(), (view.features.shape[2], view.features.shape[3])
            ).argmax(1)
            found, number = class_sums(view.features.float(), label, len(sums))
            sums.add_(found)
            counts.add_(number)

        def done() -> None:
            sum_over_ranks(sums, counts)
            self.centres.copy_(sums / counts.clamp(min=1)[:, None])
            self.known.copy_(counts > 0)
            self.active = True

        stage.watch_target(see, done)

    def numbers(self) -> dict[str, float]:
        """How many classes have a prototype."""
        return {"prototype_classes": float(self.known.sum())} if self.active else {}

    def follow(self, network: nn.Module) -> None:
        if self.active:
            self.momentum.follow(network, self.settings.momentum)

    def losses(self, step: Step) -> dict[str, Tensor]:
        if not self.active:
            return {}
        view, settings = step.target, self.settings
        images = view.batch.image
        with torch.no_grad():
            features = self.momentum.network(images).features.float()
            nearness = prototype_weights(features, self.centres, self.known, settings.temperature)
            nearness = F.interpolate(nearness, size=images.shape[2:], mode="bilinear")
            label = (self.frozen.probabilities(images) * nearness).argmax(1)
            coarse = F.interpolate(label[:, None].float(), size=features.shape[2:], mode="nearest")[:, 0].long()
            self.seen = features, coarse
        loss = symmetric_cross_entropy(view.log_probabilities(), label, settings.cross_entropy, settings.reverse)
        return {"prototypes": settings.weight * loss}

    @torch.no_grad()
    def update(self, step: Step) -> dict[str, Tensor]:
        if self.seen is not None:
            sums, counts = class_sums(*self.seen, len(self.centres))
            sum_over_ranks(sums, counts)
            means = sums / counts.clamp(min=1)[:, None]
            moved = self.centres.lerp(means, 1 - self.settings.prototype_momentum)
            moved = moved.where(self.known[:, None], means)
            self.centres.copy_(moved.where(counts[:, None] > 0, self.centres))
            self.known |= counts > 0
            self.seen = None
        return {}

    def get_extra_state(self) -> dict[str, Any]:
        return {"active": self.active}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.active = state["active"]


def class_sums(features: Tensor, label: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Sums [C,D] of features [B,D,h,w] over the positions of each class in int64 [B,h,w], and their counts [C]."""
    rows, ids = features.permute(0, 2, 3, 1).flatten(0, 2), label.flatten()
    sums = rows.new_zeros(num_classes, rows.shape[1]).index_add_(0, ids, rows)
    return sums, torch.bincount(ids, minlength=num_classes).to(rows.dtype)


def prototype_weights(features: Tensor, centres: Tensor, known: Tensor, temperature: float) -> Tensor:
    """[B,C,h,w]: softmax over classes of -|f - centre| / temperature (ProDA, eq. 5 and 6); 0 for unknown classes.

    Args:
        features: [B,D,h,w].
        centres: [C,D].
        known: bool [C].
    """
    batch, depth, height, width = features.shape
    rows = features.permute(0, 2, 3, 1).reshape(-1, depth)
    scores = -torch.cdist(rows, centres) / temperature
    weights = scores.masked_fill(~known, -torch.inf).softmax(1)
    return weights.view(batch, height, width, -1).permute(0, 3, 1, 2)


def symmetric_cross_entropy(log_p: Tensor, label: Tensor, forward: float, reverse: float) -> Tensor:
    """forward * mean(-log p_label) + reverse * mean over pixels of -sum_c p_c log y_c, y one-hot with 1e-4 for 0
    (Wang et al., ICCV 2019). log_p [B,C,H,W], label int64 [B,H,W]."""
    own = log_p.gather(1, label[:, None])[:, 0]
    backward = -math.log(1e-4) * (1 - own.exp())
    return forward * -own.mean() + reverse * backward.mean()


@METHODS.register(
    family="self-training",
    paper="Zhang et al., CVPR 2021 (arXiv 2101.10979)",
    use="pseudo-labels are noisy but features of a class lie together.",
)
def proda() -> SourceOnly:
    """Pseudo-labels denoised online by prototypes (ProDA's first stage, without structure learning)."""
    return SourceOnly(regularizers=(Prototypes(),))
