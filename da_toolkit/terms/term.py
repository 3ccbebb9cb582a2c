"""The contract: a method is a sum of terms, and says which data it reads."""

import inspect
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from da_toolkit.data.batch import Batch
from da_toolkit.data.labels import LabelSpace
from da_toolkit.errors import UserError
from da_toolkit.settings.schedule import Stage
from da_toolkit.terms.stages import StageContext
from da_toolkit.terms.step import Step

if TYPE_CHECKING:
    from da_toolkit.data.superpixels import Superpixels
    from da_toolkit.models.settings import ModelSettings

DomainName = Literal["source", "target"]


class Term(nn.Module):
    """A part of the segmentation network's objective, with whatever networks and frozen knowledge it owns.

    All of its state must be in `state_dict` (parameters and buffers), so that a resumed run is the same run.
    """

    looks_at: Collection[str] = ("source", "target")
    """The domains of whose pass through the network `losses` uses anything; images and labels alone do not count, nor
    do passes on images of its own. A pass is given up as soon as no term that is yet to come looks at it: what a term
    leaves out here saves memory, and all is right with both."""

    def begin_stage(self, stage: StageContext) -> None:
        """Rebuild frozen knowledge from the current network and the unlabelled target images."""

    def numbers(self) -> dict[str, float]:
        """What a stage's frozen knowledge amounts to, as logged when it begins: name -> value."""
        return {}

    def figures(self, stage: StageContext) -> dict[str, np.ndarray]:
        """Pictures of the stage's frozen knowledge for people to look at: name -> uint8 RGB [H,W,3]."""
        return {}

    def symptoms(self, losses: dict[str, float]) -> dict[str, str]:
        """Signs in the mean losses of a report that the term's game is going wrong: the sign -> what to try."""
        return {}

    def transform(self, source: Batch | None, target: Batch | None) -> tuple[Batch | None, Batch | None]:
        """Change a step's images before any term sees them, such as giving the source the target's colours."""
        return source, target

    def follow(self, network: nn.Module) -> None:
        """Once after each optimiser step: let a teacher follow the segmentation network."""

    def remembers(self) -> set[DomainName]:
        """The domains of whose single images it now keeps knowledge by index, for which other images would be taken."""
        return set()

    def prepare_evaluation(self, stage: StageContext) -> None:
        """Bring the network into the state in which it is scored and saved, such as its batch statistics."""

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Named, weighted, scalar, differentiable losses of the segmentation network."""
        return {}

    def update(self, step: Step) -> dict[str, Tensor]:
        """After the network's own step: losses of the term's own players, for `optimizer` to lower."""
        return {}

    def optimizer(self) -> torch.optim.Optimizer | None:
        """A new optimiser over the term's own players; the trainer schedules, steps and saves it."""
        return None


@dataclass(frozen=True)
class BuildContext:
    """What a term may know of the network and the task when it is built."""

    label_space: LabelSpace
    feature_channels: int
    network: nn.Module
    """The segmentation network, for terms that keep a copy of it. A term must not keep the network itself."""
    model: "ModelSettings | None" = None
    """Settings of the network, for terms that need another one like it."""
    class_balance: float = 0.0
    """The method's own."""
    average: Literal["labelled", "all"] = "labelled"
    """The method's own."""


@dataclass(frozen=True)
class Reads:
    """The data that a method's steps load; the pass over target images between stages needs no mention.

    Only the oracle names `target_labels`.
    """

    source: bool = True
    target: bool = False
    target_labels: bool = False


@dataclass(frozen=True)
class Regularizer:
    """Settings of a term that can join any method. It always reads target images."""

    needs_source: ClassVar[bool] = False
    """It works on source images: a method that reads none, such as the oracle, is refused."""

    @property
    def superpixels(self) -> "Superpixels | None":
        """The region maps that its term reads with every target image, if it does."""
        return None

    def check(self, stages: Sequence[Stage], reads: Reads) -> None:
        """Raises `UserError` for a schedule, or a method's data, with which the term could never act."""

    def build(self, context: BuildContext) -> Term:
        raise NotImplementedError


@dataclass(frozen=True)
class Method:
    """Settings of a method: `terms` builds its own, and regularizers join them."""

    regularizers: tuple[Regularizer, ...] = ()
    """Terms that join this method's own."""
    class_balance: float = 0.0
    """Weights (class frequency)^-class_balance in the cross-entropy of true labels: 0 = none, 0.5 = inverse square
    root. Labels that a network makes itself have none (RPT balances its own)."""
    average: Literal["labelled", "all"] = "labelled"
    """Pixels over which the cross-entropy of true labels is averaged: those with a label, or all, so that images with
    many ignored pixels count less (DAFormer)."""
    labels_at: Literal["pixels", "head"] = "pixels"
    """Where the cross-entropy of labels, true ones and those of self-training, is taken: at the image's pixels, or at
    the head's own positions, each with the commonest label of its labelled pixels (benchmarks/README.md says what that
    saves and costs). RPT, ProDA and soft labels stay at pixels."""

    starts_trained: ClassVar[bool] = False
    """It teaches no labels, so the whole network, its classifier included, must come from a run that was taught some:
    `model.weights` names that."""

    @property
    def own_reads(self) -> Reads:
        return Reads()

    def choose_trained(self, network: nn.Module) -> None:
        """Freeze (`requires_grad_`) what of the network the method does not train; by default nothing."""

    def terms(self, context: BuildContext) -> list[Term]:
        raise NotImplementedError

    @property
    def reads(self) -> Reads:
        """The data the method reads, with its regularizers."""
        own = self.own_reads
        if not isinstance(own, Reads):
            raise UserError(
                f"`own_reads` of {type(self).__name__} must be a @property that returns Reads(...), "
                f"not {'a method' if callable(own) else type(own).__name__}."
            )
        return Reads(own.source, own.target or bool(self.regularizers), own.target_labels)

    @property
    def opens_source(self) -> bool:
        """Whether a run has source images at all: also of a method whose steps read none they serve label-free scores,
        but where a trained network is all there is of the source, nothing of it need be there."""
        return self.reads.source or not self.starts_trained

    @property
    def superpixels(self) -> "Superpixels | None":
        """The region maps that its regularizers read. Raises `UserError` if two of them ask for different ones."""
        wanted = {regularizer.superpixels for regularizer in self.regularizers} - {None}
        if len(wanted) > 1:
            raise UserError("method.regularizers: two of them ask for different superpixels; give them the same.")
        return wanted.pop() if wanted else None

    def build(self, context: BuildContext) -> list[Term]:
        """The method's own terms, then its regularizers'."""
        context = replace(context, class_balance=self.class_balance, average=self.average)
        own = _given(self, "terms", context)
        joined = [_given(regularizer, "build", context) for regularizer in self.regularizers]
        if not isinstance(own, list):
            raise UserError(f"`terms` of {type(self).__name__} must return a list of Terms, not {type(own).__name__}.")
        for owner, term in [(self, term) for term in own] + list(zip(self.regularizers, joined, strict=True)):
            if not isinstance(term, Term):
                raise UserError(f"{type(owner).__name__} builds {type(term).__name__}, which is no Term.")
            if "_modules" not in vars(term):
                raise UserError(f"`__init__` of {type(term).__name__} must begin with super().__init__().")
        if not own + joined:
            raise UserError(f"`terms` of {type(self).__name__} returned no Term, so nothing would be trained.")
        return own + joined


def _given(owner: Method | Regularizer, name: str, context: BuildContext) -> Any:
    """What its method `name` makes of the context. Raises `UserError` if that takes none."""
    make = getattr(owner, name)
    try:
        inspect.signature(make).bind(context)
    except TypeError:
        raise UserError(
            f"`{name}` of {type(owner).__name__} is given the context alone and must take it: write "
            f"`def {name}(self, context)`."
        ) from None
    return make(context)


@contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """Gradients flow through the module to its input, but not into its parameters."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield module
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
