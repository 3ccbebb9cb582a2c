"""Entropy methods: predictions on the target should be as sure as those on the source."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from da_toolkit.errors import UserError
from da_toolkit.methods.adversarial import Adversarial, OutputSpace
from da_toolkit.methods.supervised import SourceOnly
from da_toolkit.registry import METHODS, REGULARIZERS
from da_toolkit.terms.step import Level, Step, View
from da_toolkit.terms.term import BuildContext, Regularizer, Term

Resolution = Literal["image", "head"]


def self_information(log_probabilities: Tensor) -> Tensor:
    """-p log p / log C: [B,C,...] of log-probabilities [B,C,...]; over the classes it sums to 0..1 (AdvEnt)."""
    # Negated last, autograd keeps p once.
    return log_probabilities.exp() * log_probabilities / -math.log(log_probabilities.shape[1])


def entropy_map(log_probabilities: Tensor) -> Tensor:
    """Normalised Shannon entropy of each pixel, 0..1: [B,H,W] of log-probabilities [B,C,H,W]."""
    return self_information(log_probabilities).sum(1)


def max_squares(probabilities: Tensor, alpha: float | None = None) -> Tensor:
    """Maximum squares loss (Chen et al., ICCV 2019): scalar, the mean of -p^2 / 2 over pixels and classes.

    With `alpha`, image-wise class weights: minus the sum over an image's pixels of p^2 / (N_c^alpha N^(1-alpha)), N_c =
    its pixels decided as the pixel's class c, N = all; the mean over images and classes. So rare classes count more.

    Args:
        probabilities: [B,C,H,W].
        alpha: 0..1; none leaves the weights out.
    """
    squares = probabilities.square()
    if alpha is None:
        return -squares.mean() / 2
    batch, classes, height, width = probabilities.shape
    decided = probabilities.detach().argmax(1).flatten(1)
    counts = decided.new_zeros(batch, classes).scatter_add_(1, decided, torch.ones_like(decided)).clamp(min=1)
    weights = (counts.float().pow(-alpha) * (height * width) ** (alpha - 1)).gather(1, decided)
    return -(squares.flatten(2).sum(1) * weights).sum(1).mean() / classes


class TargetTerm(Term):
    """A loss of the target predictions at the main and, where the network has one, the auxiliary level."""

    looks_at = ("target",)

    name: str

    def __init__(self, weight: float, aux_weight: float) -> None:
        super().__init__()
        self.weight, self.aux_weight = weight, aux_weight

    def loss(self, view: View, level: Level) -> Tensor:
        raise NotImplementedError

    def losses(self, step: Step) -> dict[str, Tensor]:
        view = step.target
        losses = {self.name: self.weight * self.loss(view, "main")}
        if view.output.aux_logits is not None:
            losses[f"{self.name}_aux"] = self.aux_weight * self.loss(view, "aux")
        return losses


class EntropyTerm(TargetTerm):
    """Mean entropy; with `eta`, the mean of the Charbonnier penalty (H^2 + 1e-8)^eta, which FDA puts on it."""

    name = "entropy"

    def __init__(
        self, weight: float, aux_weight: float, eta: float | None = None, resolution: Resolution = "image"
    ) -> None:
        super().__init__(weight, aux_weight)
        self.eta, self.resolution = eta, resolution

    def loss(self, view: View, level: Level) -> Tensor:
        if self.resolution == "image":
            log_p = view.log_probabilities(level)
        else:
            log_p = view.coarse(level).float().log_softmax(1)
        entropy = entropy_map(log_p)
        return entropy.mean() if self.eta is None else (entropy.square() + 1e-8).pow(self.eta).mean()


class MaxSquareTerm(TargetTerm):
    """The maximum squares loss."""

    name = "max_square"

    def __init__(self, weight: float, aux_weight: float, alpha: float | None) -> None:
        super().__init__(weight, aux_weight)
        self.alpha = alpha

    def loss(self, view: View, level: Level) -> Tensor:
        return max_squares(view.probabilities(level), self.alpha)


@REGULARIZERS.register("entropy", family="entropy", paper="Vu et al., CVPR 2019 (arXiv 1811.12833)")
@dataclass(frozen=True)
class Entropy(Regularizer):
    """Mean entropy of target predictions (MinEnt)."""

    weight: float = 1e-3
    """Weight of the entropy, which lies in 0..1."""
    aux_weight: float = 2e-4
    """The same at the auxiliary level, where the network has one."""
    eta: float | None = None
    """Exponent of the Charbonnier penalty that FDA puts on the entropy (2 there); by default none."""
    resolution: Resolution = "image"
    """Where it is taken: of logits brought to the "image"'s size, as MinEnt does, or as the "head" gives them (FDA)."""

    def build(self, context: BuildContext) -> Term:
        return EntropyTerm(self.weight, self.aux_weight, self.eta, self.resolution)


@REGULARIZERS.register("max_squares", family="entropy", paper="Chen et al., ICCV 2019 (arXiv 1909.13589)")
@dataclass(frozen=True)
class MaxSquares(Regularizer):
    """Maximum squares loss of target predictions, whose gradient does not favour easy pixels."""

    weight: float = 0.1
    """Weight of the loss, as in the published training on GTA5."""
    aux_weight: float = 0.02
    """The same at the auxiliary level, where the network has one. Ours."""
    alpha: float | None = 0.2
    """Image-wise class weights, 0..1 (1 = full inverse frequency); none leaves them out."""

    def __post_init__(self) -> None:
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise UserError(f"max_squares.alpha lies in 0..1 or is none, got {self.alpha}.")

    def build(self, context: BuildContext) -> Term:
        return MaxSquareTerm(self.weight, self.aux_weight, self.alpha)


@METHODS.register(
    family="entropy",
    paper="Vu et al., CVPR 2019 (arXiv 1811.12833)",
    use="the cheapest objective on the target; the source model is already mostly right there.",
    missing="nothing that we know of in the method; the last weights are scored.",
)
def minent() -> SourceOnly:
    """Source cross-entropy plus the mean entropy of target predictions."""
    return SourceOnly(regularizers=(Entropy(),))


@METHODS.register(
    family="entropy",
    paper="Chen et al., ICCV 2019 (arXiv 1909.13589)",
    use="as `minent`, with rare classes that entropy would lose to easy ones.",
    missing="multi-level self-guidance, which labels the auxiliary level by both levels' predictions.",
)
def maxsquare() -> SourceOnly:
    """Source cross-entropy plus the maximum squares loss with image-wise class weights."""
    return SourceOnly(regularizers=(MaxSquares(),))


@dataclass(frozen=True)
class SelfInformation(OutputSpace):
    """Judges weighted self-information maps, -p log p / log C of each class (AdvEnt; Vu et al., CVPR 2019)."""

    def map(self, view: View) -> Tensor:
        return self_information(view.log_probabilities(self.level))

    @property
    def label(self) -> str:
        return f"entropy_{self.level}"


@METHODS.register(
    family="entropy",
    paper="Vu et al., CVPR 2019 (arXiv 1811.12833)",
    use="the network is sure on source and unsure on target edges; a little better than `adaptseg` in its paper.",
    missing="the auxiliary level: the row is that of two levels, which `advent_multi` has.",
)
def advent() -> Adversarial:
    """Adversarial alignment of weighted self-information maps (AdvEnt), single level."""
    return Adversarial(discriminators=(SelfInformation(weight=1e-3),))


@METHODS.register(
    family="entropy",
    paper="Vu et al., CVPR 2019 (arXiv 1811.12833)",
    use="as `advent`, with a deep dilated network.",
    missing="nothing that we know of in the method; the last weights are scored.",
    recipe="advent_gta",
)
def advent_multi() -> Adversarial:
    """AdvEnt on two levels, as published; the network needs its auxiliary level."""
    return Adversarial(discriminators=(SelfInformation(weight=1e-3), SelfInformation(weight=2e-4, level="aux")))
