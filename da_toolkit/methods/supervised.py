"""Cross-entropy on labels: source-only training, the target-trained oracle, and every method's base."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from da_toolkit.data.labels import IGNORE
from da_toolkit.methods.term import BuildContext, Method, Reads, Term
from da_toolkit.registry import METHODS
from da_toolkit.training.step import Step


def segmentation_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy over labelled pixels; 0 (with a gradient of 0) where every pixel is ignored.

    Args:
        logits: [B,C,H,W].
        label: int64 [B,H,W], 255 = ignore.
    """
    total = F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="sum")
    return total / (label != IGNORE).sum().clamp(min=1)


class Supervised(Term):
    """Cross-entropy on one domain's labels, at the main and, where there is one, the auxiliary level."""

    def __init__(self, domain: Literal["source", "target"] = "source", aux_weight: float = 0.1) -> None:
        super().__init__()
        self.domain, self.aux_weight = domain, aux_weight

    def losses(self, step: Step) -> dict[str, Tensor]:
        view = step.source if self.domain == "source" else step.target
        losses = {"seg": segmentation_loss(view.logits(), view.label)}
        if view.output.aux_logits is not None:
            losses["seg_aux"] = self.aux_weight * segmentation_loss(view.logits("aux"), view.label)
        return losses


@METHODS.register("source_only", family="baseline")
@dataclass(frozen=True)
class SourceOnly(Method):
    """Train on the labelled source alone: the lower bound."""

    def terms(self, context: BuildContext) -> list[Term]:
        return [Supervised("source")]


@METHODS.register("oracle", family="baseline")
@dataclass(frozen=True)
class Oracle(Method):
    """Train on the target's labels: the upper bound, not an adaptation method."""

    @property
    def own_reads(self) -> Reads:
        return Reads(source=False, target=True, target_labels=True)

    def terms(self, context: BuildContext) -> list[Term]:
        return [Supervised("target")]
