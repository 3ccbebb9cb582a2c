"""Prototype re-weighting (ProDA): pseudo-labels corrected by how near a pixel's feature is to each class's mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from da_toolkit.errors import UserError
from da_toolkit.methods.supervised import SourceOnly
from da_toolkit.models.teacher import Statistics, Teacher
from da_toolkit.ranks.parallel import sum_over_ranks
from da_toolkit.registry import METHODS, REGULARIZERS
from da_toolkit.settings.schedule import Stage
from da_toolkit.terms.stages import StageContext
from da_toolkit.terms.step import Step, View
from da_toolkit.terms.term import BuildContext, Reads, Regularizer, Term


@REGULARIZERS.register("prototypes", family="self-training", paper="Zhang et al., CVPR 2021 (arXiv 2101.10979)")
@dataclass(frozen=True)
class Prototypes(Regularizer):
    """Labels of the round's start, re-weighted by distances to class prototypes; symmetric cross-entropy.

    ProDA's first stage without its structure learning. Prototypes follow a momentum network on the target.

    Ours, since the published code compares the head's 256 features and we the backbone's last: distances are divided
    by a scale, the root of the mean squared distance of the target's positions to the prototype of their own class,
    measured when a round begins. Undivided they are so large that the nearest prototype alone would decide. And a
    class without a prototype weighs what the others do on average, so that its label can appear.
    """

    weight: float = 1.0
    """Weight of the loss."""
    temperature: float = 1.0
    """Of the softmax of distances, relative to their scale."""
    momentum: float = 0.999
    """Of the network whose features are compared, 0..1."""
    prototype_momentum: float = 0.999
    """Of the prototypes, 0..1 (published 0.9999, for runs many times longer)."""
    cross_entropy: float = 0.1
    """Weight of the cross-entropy in the symmetric one."""
    reverse: float = 1.0
    """Weight of its reverse, whose log of 0 counts as log 1e-4."""
    smoothing: float = 0.1
    """Weight of the regulariser of target predictions (MRKLD), the mean of -log p over classes and pixels."""
    statistics: Statistics = "running"
    """What the batch norms of the frozen copy, which labels, use: "running", the network's mean and variance of all
    that it saw, as in the published training, or "batch", those of the target images it labels."""
    momentum_statistics: Statistics = "batch"
    """The same for the averaged network, whose features are compared; "batch" as in the published training."""

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
    """Losses "prototypes" and "prototypes_smoothing" from the first round on."""

    looks_at = ("target",)

    centres: Tensor
    known: Tensor
    scale: Tensor

    def __init__(self, settings: Prototypes, context: BuildContext) -> None:
        super().__init__()
        self.settings = settings
        self.frozen = Teacher(context.network, settings.statistics)
        self.momentum = Teacher(context.network, settings.momentum_statistics)
        classes = len(context.label_space)
        self.register_buffer("centres", torch.zeros(classes, context.feature_channels))
        self.register_buffer("known", torch.zeros(classes, dtype=torch.bool))
        self.register_buffer("scale", torch.ones(()))
        self.active = False
        self.seen: tuple[int, Tensor, Tensor] | None = None  # a step's index, class sums and counts of its parts

    def begin_stage(self, stage: StageContext) -> None:
        if stage.stage.round == 0:
            return
        self.frozen.copy_from(stage.model)
        self.momentum.copy_from(stage.model)
        sums = torch.zeros_like(self.centres, dtype=torch.float64)
        counts, squares = sums.new_zeros(len(sums)), sums.new_zeros(())

        def see(view: View) -> None:
            if self.settings.statistics == "batch":
                view = View(self.frozen.network, view.batch)
            features = view.features.float()
            found, number = class_sums(features, decided(view), len(sums))
            sums.add_(found)
            counts.add_(number)
            squares.add_(features.square().sum())

        def done() -> None:
            sum_over_ranks(sums, counts, squares)
            means = sums / counts.clamp(min=1)[:, None]
            within = squares - (counts * means.square().sum(1)).sum()
            scale = (within / counts.sum().clamp(min=1)).clamp(min=0).sqrt()
            self.centres.copy_(means)
            self.known.copy_(counts > 0)
            self.scale.copy_(scale.where(scale > 0, 1))
            self.active = True

        stage.watch_target(see, done)

    def numbers(self) -> dict[str, float]:
        """How many classes have a prototype, and the scale of distances."""
        if not self.active:
            return {}
        return {"prototype_classes": float(self.known.sum()), "prototype_scale": self.scale.item()}

    def follow(self, network: nn.Module) -> None:
        if not self.active:
            return
        self.momentum.follow(network, self.settings.momentum)
        if self.seen is not None:
            self._move(*self.seen[1:])
            self.seen = None

    @torch.no_grad()
    def _move(self, sums: Tensor, counts: Tensor) -> None:
        """Prototypes by one step, whose parts and processes count as one batch."""
        sum_over_ranks(sums, counts)
        means = sums / counts.clamp(min=1)[:, None]
        moved = self.centres.lerp(means, 1 - self.settings.prototype_momentum)
        moved = moved.where(self.known[:, None], means)
        self.centres.copy_(moved.where(counts[:, None] > 0, self.centres))
        self.known |= counts > 0

    def losses(self, step: Step) -> dict[str, Tensor]:
        if not self.active:
            return {}
        view, settings = step.target, self.settings
        images = view.batch.image
        with torch.no_grad():
            momentum = View(self.momentum.network, view.batch)
            features = momentum.features.float()
            nearness = prototype_weights(features, self.centres, self.known, settings.temperature * self.scale)
            nearness = momentum.output.enlarged(nearness, images.shape[2:])
            label = (self.frozen.probabilities(images) * nearness).argmax(1)
            self._gather(step.index, *class_sums(features, decided(momentum), len(self.centres)))
        log_p = view.log_probabilities()
        loss = symmetric_cross_entropy(log_p, label, settings.cross_entropy, settings.reverse)
        losses = {"prototypes": settings.weight * loss}
        if settings.smoothing:
            losses["prototypes_smoothing"] = settings.smoothing * -log_p.mean()
        return losses

    def _gather(self, index: int, sums: Tensor, counts: Tensor) -> None:
        """Add a part of step `index`; those of an earlier step, which was left out as bad, are forgotten."""
        if self.seen is not None and self.seen[0] == index:
            sums, counts = self.seen[1] + sums, self.seen[2] + counts
        self.seen = index, sums, counts

    def get_extra_state(self) -> dict[str, Any]:
        return {"active": self.active}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.active = state["active"]


def decided(view: View) -> Tensor:
    """int64 [B,h,w]: the likeliest class at the features' resolution, by the mean of probabilities."""
    return view.output.pooled(view.probabilities()).argmax(1)


def class_sums(features: Tensor, label: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Sums [C,D] of features [B,D,h,w] over the positions of each class in int64 [B,h,w], and their counts [C]."""
    rows, ids = features.permute(0, 2, 3, 1).flatten(0, 2), label.flatten()
    sums = rows.new_zeros(num_classes, rows.shape[1]).index_add_(0, ids, rows)
    return sums, torch.bincount(ids, minlength=num_classes).to(rows.dtype)


def prototype_weights(features: Tensor, centres: Tensor, known: Tensor, temperature: Tensor | float) -> Tensor:
    """[B,C,h,w]: softmax over known classes of -|f - centre| / temperature (ProDA, eq. 5 and 6); unknown classes get
    the mean weight of the known.

    Args:
        features: [B,D,h,w].
        centres: [C,D].
        known: bool [C].
    """
    batch, depth, height, width = features.shape
    rows = features.permute(0, 2, 3, 1).reshape(-1, depth)
    scores = -torch.cdist(rows, centres) / temperature
    weights = scores.masked_fill(~known, -torch.inf).softmax(1).where(known, 1 / known.sum().clamp(min=1))
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
    missing=(
        "no row is restated: the published scores come after structure learning and stages of "
        "distillation, which ours lacks."
    ),
)
def proda() -> SourceOnly:
    """Pseudo-labels denoised online by prototypes (ProDA's first stage, without structure learning)."""
    return SourceOnly(regularizers=(Prototypes(),))
