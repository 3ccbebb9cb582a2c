"""Cross-entropy on labels: source-only training, the target-trained oracle, and every method's base."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from da_toolkit.registry import METHODS
from da_toolkit.terms.cross_entropy import segmentation_loss
from da_toolkit.terms.stages import StageContext
from da_toolkit.terms.step import Step
from da_toolkit.terms.term import BuildContext, Method, Reads, Term

_COUNTED = 300  # label maps whose class frequencies decide the weights
_RAREST = 1e-4  # share of pixels below which a class is not weighted up any further


def balanced_weights(labels: Iterable[np.ndarray], num_classes: int, power: float) -> Tensor:
    """float32 [C], proportional to (class frequency)^-power, with mean 1 over the pixels.

    Args:
        labels: label maps, uint8 train ids [H,W], 255 = ignore.
        power: 0 = all classes count the same, 0.5 = inverse square root, 1 = inverse frequency.
    """
    counts = np.zeros(256)
    for label in labels:
        counts += np.bincount(label.ravel(), minlength=256)
    pixels = torch.from_numpy(counts[:num_classes])
    frequency = pixels / pixels.sum().clamp(min=1)
    weights = frequency.clamp(min=_RAREST) ** -power
    mean = (weights * frequency).sum()
    return (weights / mean.where(mean > 0, 1)).float()


class LabelWeights(nn.Module):
    """The class weights that `class_balance` asks for, counted once on a domain's labels."""

    values: Tensor

    def __init__(self, context: BuildContext) -> None:
        super().__init__()
        self.power = context.class_balance
        self.register_buffer("values", torch.ones(len(context.label_space)))
        self.counted = False

    def count(self, stage: StageContext, domain: Literal["source", "target"]) -> None:
        """Count the labels of up to 300 images, unless it is done or not asked for."""
        if self.power and not self.counted:
            labels = islice(stage.labels(domain), _COUNTED)
            self.values.copy_(balanced_weights(labels, len(self.values), self.power))
            self.counted = True

    @property
    def tensor(self) -> Tensor | None:
        """[C], or none where all classes count the same."""
        return self.values if self.power else None


class Supervised(Term):
    """Cross-entropy on one domain's labels, at the main and, where there is one, the auxiliary level."""

    def __init__(
        self,
        context: BuildContext,
        domain: Literal["source", "target"] = "source",
        aux_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.domain: Literal["source", "target"] = domain
        self.looks_at = (domain,)
        self.aux_weight, self.average = aux_weight, context.average
        self.weights = LabelWeights(context)

    def begin_stage(self, stage: StageContext) -> None:
        self.weights.count(stage, self.domain)

    def losses(self, step: Step) -> dict[str, Tensor]:
        view = step.source if self.domain == "source" else step.target
        weights = self.weights.tensor

        def loss(logits: Tensor, label: Tensor) -> Tensor:
            return segmentation_loss(logits, label, weights, self.average)

        losses = {"seg": view.supervised(loss, view.label)}
        if view.output.aux_logits is not None:
            losses["seg_aux"] = self.aux_weight * view.supervised(loss, view.label, level="aux")
        return losses


@METHODS.register(
    "source_only",
    family="baseline",
    use="always: it is the floor that every gain is measured from.",
    missing=("no row is restated: every paper has a source-only row of its own, and ours has AdaptSegNet's settings."),
)
@dataclass(frozen=True)
class SourceOnly(Method):
    """Train on the labelled source alone: the lower bound."""

    def terms(self, context: BuildContext) -> list[Term]:
        return [Supervised(context)]


@METHODS.register(
    "oracle",
    family="baseline",
    use="target labels exist and the ceiling is wanted.",
    missing="no row is restated, as for `source_only`.",
)
@dataclass(frozen=True)
class Oracle(Method):
    """Train on the target's labels: the upper bound, not an adaptation method."""

    @property
    def own_reads(self) -> Reads:
        return Reads(source=False, target=True, target_labels=True)

    def terms(self, context: BuildContext) -> list[Term]:
        return [Supervised(context, "target")]
