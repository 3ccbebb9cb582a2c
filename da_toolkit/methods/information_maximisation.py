"""Information maximisation and centroid labels (SHOT): sure and diverse predictions for a classifier that stays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.methods.entropy import entropy_map
from da_toolkit.methods.prototypes import class_sums
from da_toolkit.methods.source_free import SourceFree
from da_toolkit.models.teacher import Statistics, Teacher
from da_toolkit.ranks.parallel import mean_over_ranks, sum_over_ranks
from da_toolkit.registry import METHODS, REGULARIZERS
from da_toolkit.settings.schedule import Stage
from da_toolkit.terms.cross_entropy import segmentation_loss
from da_toolkit.terms.stages import StageContext
from da_toolkit.terms.step import Step, View
from da_toolkit.terms.term import BuildContext, Reads, Regularizer, Term


@REGULARIZERS.register(
    "information_maximisation", family="source-free", paper="Liang et al., ICML 2020 (arXiv 2002.08546)"
)
@dataclass(frozen=True)
class InformationMaximisation(Regularizer):
    """Mean entropy of target pixels less the entropy of their mean prediction: each sure, all together diverse."""

    weight: float = 1.0
    """Weight of the entropy, in nats."""
    diversity: float = 1.0
    """Weight of the entropy of the batch's mean prediction, in nats, which is raised; 0 = off."""

    def __post_init__(self) -> None:
        if self.diversity < 0:
            raise UserError(f"information_maximisation.diversity must be at least 0, got {self.diversity}.")

    def build(self, context: BuildContext) -> "InformationMaximisationTerm":
        return InformationMaximisationTerm(self)


class InformationMaximisationTerm(Term):
    """Losses "shot_entropy" and "shot_diversity", of which the second lies in -ln C .. 0."""

    looks_at = ("target",)

    def __init__(self, settings: InformationMaximisation) -> None:
        super().__init__()
        self.settings = settings

    def losses(self, step: Step) -> dict[str, Tensor]:
        view, settings = step.target, self.settings
        log_p = view.log_probabilities()
        entropy = entropy_map(log_p).mean() * math.log(log_p.shape[1])
        losses = {"shot_entropy": settings.weight * entropy}
        if settings.diversity:
            losses["shot_diversity"] = settings.diversity * negative_entropy(view.probabilities().mean((0, 2, 3)))
        return losses


def negative_entropy(mean: Tensor) -> Tensor:
    """sum_c p_c log p_c of a mean prediction p [C]; with several processes, of the mean of all of theirs.

    The mean of the ranks' gradients is that of one process with all images.
    """
    everywhere = mean_over_ranks(mean.detach())
    log_p = everywhere.clamp(min=torch.finfo(mean.dtype).tiny).log()
    value = (everywhere * log_p).sum()
    slope = ((1 + log_p) * mean).sum()  # d/dp of p log p is 1 + log p
    return value + slope - slope.detach()


@REGULARIZERS.register("centroid_labels", family="source-free", paper="Liang et al., ICML 2020 (arXiv 2002.08546)")
@dataclass(frozen=True)
class CentroidLabels(Regularizer):
    """The class whose centroid of target features is nearest by cosine is a pixel's label (SHOT).

    Centroids are made as a round begins: means of features weighted by probabilities, then means of what those label.
    A frozen copy of the round's first network gives the features of each augmented image. Classes that the network
    decides nowhere have no centroid, and no pixel.
    """

    weight: float = 0.3
    """Weight of the cross-entropy."""
    statistics: Statistics = "batch"
    """What the frozen copy's batch norms use: "running", the network's mean and variance of all that it saw, or
    "batch", those of the target images it labels. Before the first round the former are the source's."""

    def check(self, stages: Sequence[Stage], reads: Reads) -> None:
        if not any(stage.round for stage in stages):
            raise UserError(
                "Centroid labels are made in rounds, but no stage of the schedule is one: add `*rounds(3, steps=...)` "
                "to its stages."
            )

    def build(self, context: BuildContext) -> "CentroidTerm":
        return CentroidTerm(self, context)


class CentroidTerm(Term):
    """Loss "shot_pseudo" from the first round on."""

    looks_at = ("target",)

    centroids: Tensor
    known: Tensor

    def __init__(self, settings: CentroidLabels, context: BuildContext) -> None:
        super().__init__()
        self.settings = settings
        self.teacher = Teacher(context.network, settings.statistics)
        classes = len(context.label_space)
        self.register_buffer("centroids", torch.zeros(classes, context.feature_channels))
        self.register_buffer("known", torch.zeros(classes, dtype=torch.bool))
        self.active = False

    def begin_stage(self, stage: StageContext) -> None:
        if stage.stage.round == 0:
            return
        self.teacher.copy_from(stage.model)
        soft = torch.zeros_like(self.centroids, dtype=torch.float64)
        mass, decided = soft.new_zeros(len(soft)), soft.new_zeros(len(soft))
        hard, number = torch.zeros_like(soft), torch.zeros_like(mass)
        with torch.inference_mode():
            for batch in stage.target_pass(shared=True):
                view = View(self.teacher.network, batch)
                p, features = view.output.pooled(view.probabilities()), view.features
                soft += torch.einsum("bchw,bdhw->cd", p.double(), features.double())
                mass += p.double().sum((0, 2, 3))
                decided += torch.bincount(p.argmax(1).flatten(), minlength=len(decided))
            sum_over_ranks(soft, mass, decided)
            first = (soft / mass.clamp(min=1e-12)[:, None]).float()
            for batch in stage.target_pass(shared=True):
                features = self.teacher.network(batch.image).features.float()
                label = similarity(features, first, decided > 0).argmax(1)
                found, counts = class_sums(features.double(), label, len(hard))
                hard += found
                number += counts
            sum_over_ranks(hard, number)
        self.centroids.copy_(hard / number.clamp(min=1)[:, None])
        self.known.copy_(number > 0)
        self.active = True

    def numbers(self) -> dict[str, float]:
        """How many classes have a centroid."""
        return {"centroid_classes": float(self.known.sum())} if self.active else {}

    def losses(self, step: Step) -> dict[str, Tensor]:
        if not self.active:
            return {}
        view = step.target
        with torch.no_grad():
            output = self.teacher.network(view.batch.image)
            near = similarity(output.features.float(), self.centroids, self.known)
            label = output.enlarged(near, view.batch.image.shape[2:]).argmax(1)
        return {"shot_pseudo": self.settings.weight * view.supervised(segmentation_loss, label)}

    def get_extra_state(self) -> dict[str, Any]:
        return {"active": self.active}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.active = state["active"]


def similarity(features: Tensor, centroids: Tensor, known: Tensor) -> Tensor:
    """Cosine of each position's feature and each centroid, [B,C,h,w] in -1..1; -2 for classes without a centroid.

    Args:
        features: [B,D,h,w].
        centroids: [C,D].
        known: bool [C], whether a class has a centroid.
    """
    cosine = torch.einsum("bdhw,cd->bchw", F.normalize(features, dim=1), F.normalize(centroids, dim=1))
    return cosine.where(known[:, None, None], -2.0)


@METHODS.register(
    family="source-free",
    paper="Liang et al., ICML 2020 (arXiv 2002.08546)",
    use="as `tent`, with time for rounds: the whole encoder moves its features to a classifier that stays.",
    missing=(
        "no row is restated: the paper classifies images. Ours has no bottleneck with weight "
        "normalisation, and no label smoothing of the source network."
    ),
)
def source_free_shot() -> SourceFree:
    """SHOT for segmentation: information maximisation and centroid labels, with frozen heads."""
    return SourceFree(trains="encoder", regularizers=(InformationMaximisation(), CentroidLabels()))
