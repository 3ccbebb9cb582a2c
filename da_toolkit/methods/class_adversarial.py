"""Class-wise adversarial alignment of features (FADA): source or target, and of which class?"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from da_toolkit.methods.adversarial import Adversarial, Discriminator
from da_toolkit.models.discriminators import ClassDiscriminator
from da_toolkit.models.grid import enlarged
from da_toolkit.registry import METHODS
from da_toolkit.terms.step import View
from da_toolkit.terms.term import BuildContext


@dataclass(frozen=True)
class ClassWise(Discriminator):
    """Judges the backbone's features for 2C answers, class by domain (FADA; Wang et al., ECCV 2020)."""

    weight: float = 1e-3
    width: int = 256
    """Channels of its first layer."""
    temperature: float = 1.8
    """Softens the predictions that say which class a position is of, as in the published training."""
    clip: float = 0.9
    """The probability of a class counts no more than this, 0..1."""

    def network(self, context: BuildContext) -> nn.Module:
        return ClassDiscriminator(context.feature_channels, len(context.label_space), self.width)

    def map(self, view: View) -> Tensor:
        return view.features

    def loss(self, judged: Tensor, view: View, domain: float) -> Tensor:
        output, size = view.output, judged.shape[2:]
        encoded = class_encoding(output.logits.detach(), size, self.temperature, self.clip, output.align_corners)
        return class_domain_loss(judged, encoded, domain)

    @property
    def label(self) -> str:
        return "class"

    @property
    def chance(self) -> None:
        return None  # it also depends on how well the classes are told


def class_encoding(
    logits: Tensor, size: torch.Size, temperature: float, clip: float, align_corners: bool = False
) -> Tensor:
    """Soft class of each feature position, float32 [B,C,*size]: the softmax of logits / temperature, clipped."""
    return (enlarged(logits, size, align_corners) / temperature).softmax(1).clamp(max=clip)


def class_domain_loss(judged: Tensor, encoded: Tensor, domain: float) -> Tensor:
    """Mean over positions of -sum_c a_c log P(domain, c | f) (FADA, eq. 5 and 6).

    Args:
        judged: logits [B,2C,h,w], the source's C classes first.
        encoded: a, [B,C,h,w].
        domain: 0 = source, 1 = target.
    """
    log_p = judged.float().log_softmax(1)
    classes = encoded.shape[1]
    own = log_p[:, classes:] if domain else log_p[:, :classes]
    return -(encoded * own).sum(1).mean()


@METHODS.register(
    family="adversarial",
    paper="Wang et al., ECCV 2020 (arXiv 2007.09222)",
    use="alignment should keep classes apart, and features are where the domains differ.",
    missing="self-distillation after the adversarial stage; the temperature in the source's cross-entropy too.",
)
def fada() -> Adversarial:
    """Fine-grained adversarial alignment: one discriminator that knows classes, on features."""
    return Adversarial(discriminators=(ClassWise(),))
