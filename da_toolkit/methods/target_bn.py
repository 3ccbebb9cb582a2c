"""Adaptive batch normalisation: the network is scored with the target's batch-norm statistics."""

from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from da_toolkit.methods.supervised import Supervised
from da_toolkit.registry import METHODS
from da_toolkit.terms.stages import StageContext
from da_toolkit.terms.term import BuildContext, Method, Term


class TargetBatchNorm(Term):
    """Before each evaluation, re-estimates every batch norm's mean and variance on target images.

    Li et al., "Revisiting Batch Normalization For Practical Domain Adaptation", 2016 (AdaBN). Layers are
    estimated together in one pass, with the cumulative average over `batches` batches.
    """

    def __init__(self, batches: int = 50) -> None:
        super().__init__()
        self.batches = batches

    @torch.no_grad()
    def prepare_evaluation(self, stage: StageContext) -> None:
        norms = [m for m in stage.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        modes = [(module, module.training) for module in stage.model.modules()]
        stage.model.eval()  # so that dropout is off while the batch norms estimate
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
            norm.train()
        try:
            for batch in islice(stage.target_pass(), self.batches):
                stage.model(batch.image)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
            for module, mode in modes:
                module.training = mode


@METHODS.register(
    "target_bn",
    family="baseline",
    paper="Li et al., 2016 (arXiv 1603.04779)",
    use="the network trains its batch norms and nothing may be trained on the target.",
    missing="no row is restated: the paper classifies images.",
)
@dataclass(frozen=True)
class TargetBN(Method):
    """Source-only training, scored with the target's batch-norm statistics (AdaBN; RPT's "ABN" baseline)."""

    batches: int = 50
    """Target batches over which the statistics are averaged."""

    def terms(self, context: BuildContext) -> list[Term]:
        return [Supervised(context), TargetBatchNorm(self.batches)]
