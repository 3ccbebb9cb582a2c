"""Source-free adaptation: a trained network adapts on unlabelled target images, and no source image is opened."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from torch import nn

from da_toolkit.errors import UserError
from da_toolkit.methods.entropy import Entropy
from da_toolkit.registry import METHODS
from da_toolkit.terms.term import BuildContext, Method, Reads, Term

Trained = Literal["all", "norms", "encoder"]
"""What of the network learns."""


@dataclass(frozen=True)
class SourceFree(Method):
    """Adapts a network that another run has trained: the regularizers are the whole objective.

    `model.weights` names that run. The recipe's source only says which classes it was taught; it is never opened.
    """

    starts_trained: ClassVar[bool] = True
    trains: Trained = "all"
    """What learns: "all" of the network, the scales and shifts of its batch "norms" alone (TENT), or its "encoder",
    all but the heads (SHOT)."""

    def __post_init__(self) -> None:
        for name, usual in (("class_balance", 0.0), ("average", "labelled")):
            if (value := getattr(self, name)) != usual:
                raise UserError(
                    f"method.{name} is a setting of the cross-entropy of true labels, and this method reads none: "
                    f"leave it at {usual}, not {value}."
                )
        if self.labels_at != "pixels":
            raise UserError(
                "method.labels_at is a setting of methods that learn from the source's labels, and this method reads "
                f"none: leave it at pixels, not {self.labels_at}."
            )

    @property
    def own_reads(self) -> Reads:
        return Reads(source=False, target=True)

    def terms(self, context: BuildContext) -> list[Term]:
        if not self.regularizers:
            raise UserError(
                "method.regularizers is empty, and a source-free method has no other objective: give it one, such as "
                "Entropy(weight=1.0)."
            )
        return []

    def choose_trained(self, network: nn.Module) -> None:
        """Freeze what `trains` leaves out. Raises `UserError` for a network without what it names."""
        if self.trains == "norms":
            _train_norms_alone(network)
        elif self.trains == "encoder":
            names = getattr(network, "heads", ("head", "aux"))  # HRDA's attention is one of them
            heads = tuple(name for name in names if isinstance(getattr(network, name, None), nn.Module))
            if not heads:
                raise UserError("method.trains 'encoder' freezes the network's `head`, and it has none: set all.")
            for name in heads:
                network.get_submodule(name).requires_grad_(False)
            cast(Any, network).still = heads  # their batch norms and dropout too, as in SHOT


def _train_norms_alone(network: nn.Module) -> None:
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    affine = [parameter for norm in norms for parameter in norm.parameters(recurse=False)]
    if not affine:
        raise UserError(
            "method.trains 'norms' trains the scales and shifts of batch norms, and the network has none, as most "
            "transformers: choose a convolutional model.backbone, or set method.trains to all."
        )
    if not all(parameter.requires_grad for parameter in affine):
        kept = getattr(network, "batch_norm", "frozen")
        raise UserError(
            f"method.trains 'norms' trains the scales and shifts of batch norms, which model.batch_norm {kept!r} keeps "
            "as they are: set model.batch_norm to train."
        )
    network.requires_grad_(False)
    for parameter in affine:
        parameter.requires_grad_(True)


@METHODS.register(
    family="source-free",
    paper="Wang et al., ICLR 2021 (arXiv 2006.10726)",
    use="a trained network is all there is, and the domains differ in look more than in layout.",
    missing=(
        "the row's network, and predictions made while it adapts: ours adapts on training images, and "
        "others are scored."
    ),
)
def tent() -> SourceFree:
    """TENT: lowers the entropy of target predictions by the batch norms' scales and shifts alone.

    The network normalises by the statistics of its target batch, and is scored by their running average. The entropy
    is divided by ln C, which a rate-free optimiser such as Adam does not notice.
    """
    return SourceFree(trains="norms", regularizers=(Entropy(weight=1.0, aux_weight=0.1),))
