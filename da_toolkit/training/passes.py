"""Backward, one pass of the network after the other: what autograd keeps of a pass is given up before the next begins.

The graph is cut at the network's output. Losses go backward into that, and what has gathered there goes through the
network once, as soon as no term looks at the pass any more. The gradient is that of the losses' sum.
"""

import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor

from da_toolkit.data.batch import Batch
from da_toolkit.errors import UserError
from da_toolkit.models.segmenter import Output
from da_toolkit.terms.step import Step, View
from da_toolkit.terms.term import DomainName, Term
from da_toolkit.training.losses import check_losses, check_trained, merged

DOMAINS: tuple[DomainName, ...] = ("source", "target")


class PassView(View):
    """A view whose output is cut off from the network's graph, which waits for `learn`.

    Args:
        domain: none for images that a term has made.
    """

    def __init__(self, step: "PassStep", batch: Batch, domain: DomainName | None) -> None:
        super().__init__(step.network, batch, step.at_head)
        self.domain = domain
        self._step = weakref.ref(step)  # a cycle would hold maps and images until Python's collector comes by
        self._cuts: list[tuple[Tensor, Tensor]] = []  # what the network gave, and what terms are shown in its place

    @property
    def output(self) -> Output:
        """The forward pass. Raises `UserError` for a term that does not say that it looks at it, and where the step is
        over before anybody has asked for it."""
        step = self._step()
        if step is not None:
            step.check(self)
        if not self.computed:
            if step is None:
                raise UserError("A term asks for a pass of the network in a step that is over: ask during the step.")
            self._output = super().output.with_maps(self._cut)
            step.open.append(self)
        return super().output

    def _cut(self, given: Tensor) -> Tensor:
        if not given.requires_grad:
            return given
        shown = given.detach().requires_grad_()
        self._cuts.append((given, shown))
        return shown

    def forget(self) -> None:
        """Give up the maps at the image's resolution; whoever asks for them again computes them again."""
        for maps in (self._logits, self._probabilities, self._log_probabilities):
            maps.clear()

    def learn(self) -> None:
        """Send what losses have left at the output backward through the network. From then on the output is a mere
        number, without gradient."""
        self.forget()
        reached = [(given, shown.grad) for given, shown in self._cuts if shown.grad is not None]
        self._cuts = []
        self._output = super().output.with_maps(torch.Tensor.detach)
        if reached:
            torch.autograd.backward([given for given, _ in reached], [slope for _, slope in reached])


class PassStep(Step):
    """A step whose views are cut off from the network, and know which term asks."""

    def __init__(
        self,
        network: Callable[[Tensor], Output],
        source: Batch | None,
        target: Batch | None,
        index: int = 0,
        total: int = 1,
        at_head: bool = False,
    ) -> None:
        self.network = network
        self.open: list[PassView] = []
        """Views that have been computed and have not gone backward, in the order in which they were computed."""
        self.asking: Term | None = None
        """The term whose losses are being computed."""
        super().__init__(network, source, target, index, total, at_head)

    def _view(self, batch: Batch, domain: Literal["source", "target"] | None) -> PassView:
        return PassView(self, batch, domain)

    def check(self, view: PassView) -> None:
        """Raises `UserError` where the asking term looks at a domain that it does not name."""
        if self.asking is None or view.domain is None or view.domain in self.asking.looks_at:
            return
        raise UserError(
            f"{type(self.asking).__name__} looks at the network's pass over the {view.domain}, which its `looks_at` "
            f"{tuple(self.asking.looks_at)} does not name, so it may be gone: add it there."
        )


def in_order(terms: Sequence[Term]) -> list[int]:
    """Numbers of the terms as they are asked: those that look at the source alone come first, then those that look at
    both, at the target alone, at neither; so that few passes are open at a time.

    Raises `UserError` for a term that names something else.
    """
    for term in terms:
        named = term.looks_at
        if isinstance(named, str) or not set(named) <= set(DOMAINS):
            raise UserError(
                f"`looks_at` of {type(term).__name__} must be a tuple of 'source' and 'target', such as ('target',) or "
                f"(); got {named!r}."
            )
    ranks = {("source",): 0, DOMAINS: 1, ("target",): 2, (): 3}
    return sorted(range(len(terms)), key=lambda n: ranks[tuple(d for d in DOMAINS if d in terms[n].looks_at)])


def learn(
    terms: Sequence[Term],
    step: PassStep,
    backward: Callable[[Tensor], Any],
    precision: Callable[[], AbstractContextManager],
) -> dict[str, Tensor]:
    """Give the network the gradients of all terms' losses on a step; the losses by name, without gradient.

    Args:
        backward: takes a sum of losses, and scales it as precision and accumulation want it.
        precision: in which losses are computed.

    Raises `UserError` as `merged`, `check_losses` and `check_trained` do.
    """
    order = in_order(terms)
    found: dict[int, dict[str, Tensor]] = {}
    training: set[str] = set()
    waiting: list[Tensor] = []
    for place, number in enumerate(order):
        term = terms[number]
        step.asking = term
        with precision():
            losses = merged([term], [term.losses(step)])
        step.asking = None
        check_losses(losses)
        training |= {name for name, loss in losses.items() if loss.requires_grad}
        waiting += [loss for loss in losses.values() if loss.requires_grad]
        found[number] = {name: loss.detach() for name, loss in losses.items()}
        del losses
        coming = {domain for later in order[place + 1 :] for domain in terms[later].looks_at}
        done = [view for view in step.open if view.domain not in coming]
        if done or place == len(order) - 1:
            _settle(step, waiting, done, backward)
            waiting = []
    together = merged(terms, [found[number] for number in range(len(terms))])
    if together:
        check_trained(together, training, "the network")
    return together


def _settle(step: PassStep, losses: list[Tensor], done: list[PassView], backward: Callable[[Tensor], Any]) -> None:
    """Send losses to the outputs that they were computed of, and views that are done on through the network."""
    if losses:
        backward(torch.stack(losses).sum())
        losses.clear()
    for view in step.open:
        view.forget()  # the way from there to the output has been used up
    for view in done:
        step.open.remove(view)
        view.learn()
