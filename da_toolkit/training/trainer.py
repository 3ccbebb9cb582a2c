"""The one trainer: next batches, step, terms, losses, update. It never asks which method it runs."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from da_toolkit.data.domain import DomainData
from da_toolkit.models.compiled import compile_blocks
from da_toolkit.models.cpu_convolutions import quicken
from da_toolkit.models.recompute import recompute_blocks
from da_toolkit.models.remake import remake_cheap_layers
from da_toolkit.ranks.parallel import average_batch_statistics, average_gradients, broadcast_state
from da_toolkit.recipe.recipe import Recipe, classes_of
from da_toolkit.settings.schedule import Stage
from da_toolkit.terms.stages import StageContext
from da_toolkit.terms.step import Step, View
from da_toolkit.terms.term import BuildContext, Term
from da_toolkit.training.groups import parameter_groups
from da_toolkit.training.guard import NotFinite, all_finite
from da_toolkit.training.images import Batches, Images
from da_toolkit.training.losses import merged, summed
from da_toolkit.training.meter import Decisions, Meter
from da_toolkit.training.optim import build_optimizer, set_learning_rate
from da_toolkit.training.passes import PassStep, learn
from da_toolkit.waiting import abandonable

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Report = Callable[[int, dict[str, float], float], None]
"""Called every `log_every` steps with the steps done, the mean losses since, and images per second."""


RECOMPUTE: dict[str, Callable[[nn.Module], None]] = {
    "none": lambda network: None,
    "cheap": remake_cheap_layers,
    "blocks": recompute_blocks,
}
"""What of a network is not kept for the backward pass, but computed again there."""


class Trainer:
    """Trains a recipe's network with its terms.

    Args:
        recipe: what to train.
        fabric: devices and precision.
        source, target: training images. Target labels are opened only if the method's `reads` names them; a source is
            needed only if it names that.
        seed: decides initial weights, data order and augmentation.
        workers: loader processes per domain; 0 loads in this one.
        compile: let `torch.compile` fuse the network's blocks (`models/compiled.py`).
        skip_bad_steps: steps with NaN or infinite numbers that `fit` leaves out before it raises.
        bad_files: share 0..1 of a domain's images that may be unusable before the run stops.
        recompute: what to keep less of for the backward pass, and compute again there: one of `RECOMPUTE`.
        frame_cache: folder of decoded and resized frames; none = files are read each time.
    """

    def __init__(
        self,
        recipe: Recipe,
        fabric: "Fabric",
        source: DomainData | None,
        target: DomainData,
        seed: int = 0,
        workers: int = 0,
        compile: bool = False,
        skip_bad_steps: int = 0,
        bad_files: float = 0.0,
        recompute: str = "none",
        frame_cache: Path | None = None,
    ) -> None:
        self.recipe, self.fabric, self.seed = recipe, fabric, seed
        self.images = Images(recipe, fabric, source, target, seed, workers, bad_files, frame_cache)
        torch.manual_seed(seed)
        space = recipe.source.label_space
        self.model = recipe.model.build(len(space)).to(fabric.device).to(memory_format=torch.channels_last)
        self.untrained = recipe.model.warm_start(self.model, space.classes, classes_of)
        """Parts of the network that no weights were found for, each with the reason."""
        recipe.method.choose_trained(self.model)
        quicken(self.model)
        RECOMPUTE[recompute](self.model)
        context = BuildContext(space, self.model.feature_channels, self.model, recipe.model)
        self.players = nn.ModuleList(recipe.method.build(context)).to(fabric.device)
        self.players.to(memory_format=torch.channels_last)
        quicken(self.players)
        self.terms = cast(list[Term], list(self.players))
        if compile:
            compile_blocks(self.model)
        self.network = self._in_precision(self.model)
        groups = parameter_groups(self.model, recipe.optimizer)
        own = {number: term.optimizer() for number, term in enumerate(self.terms)}
        self.optimizer = self._set_up(build_optimizer(recipe.optimizer, groups))
        self.term_optimizers = {number: self._set_up(o) for number, o in own.items() if o is not None}
        broadcast_state(self.model, self.players)
        self.done = 0  # optimiser steps
        self.skips, self.skipped = skip_bad_steps, 0
        reads = self.images.reads
        self.meter = Meter((int(reads.source) + int(reads.target)) * self.images.per_step)
        self.decisions = Decisions(space.classes, fabric.device)

    def _set_up(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        return cast(torch.optim.Optimizer, self.fabric.setup_optimizers(optimizer))

    def _in_precision(self, network: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        def forward(images: Tensor) -> Any:
            with self.autocast():
                return network(images)

        return forward

    def autocast(self) -> AbstractContextManager:
        """The run's mixed precision."""
        return self.fabric.autocast()

    def fit(
        self,
        report: Report,
        log_every: int = 10,
        after_step: Callable[[int], None] = lambda step: None,
        on_stage: Callable[[str], None] = lambda name: None,
        on_frozen: Callable[[str], None] = lambda name: None,
        on_bad_step: Callable[[NotFinite], None] = lambda bad: None,
    ) -> None:
        """Train from the steps already done to the schedule's end.

        May be abandoned while it waits for images or begins a stage. Then its state is that of the last whole step,
        but for what a stage that just begins has changed of the terms: a state from before is to be gone on from then.

        Args:
            after_step: told the steps done; may evaluate and save.
            on_stage: told a stage's name as it begins.
            on_frozen: told a stage's name when its frozen knowledge is made; `numbers` and `figures` show it.
            on_bad_step: told of every step with NaN or infinite numbers, before it is left out or raised.
        """
        try:
            self.images.open()
            self.meter.pause()
            begin = 0
            for stage in self.recipe.schedule.stages:
                end = begin + stage.steps
                if self.done < end:
                    on_stage(stage.name)
                if self.done == begin:
                    with abandonable():
                        self.begin(stage)
                    on_frozen(stage.name)
                    self.meter.restart()
                while self.done < end:
                    self._step_or_skip(on_bad_step)
                    if self.done % log_every == 0 or self.done == self.recipe.schedule.steps:
                        report(self.done, *self.meter.read())
                    after_step(self.done)
                    self.meter.pause()
                begin = end
        finally:
            self.images.close()

    def _step_or_skip(self, on_bad_step: Callable[[NotFinite], None]) -> None:
        try:
            self.meter.add(self.step())
        except NotFinite as bad:
            on_bad_step(bad)
            self.skipped += 1
            if self.skipped > self.skips:
                raise
            self._advance()

    def begin(self, stage: Stage) -> None:
        """Terms rebuild their frozen knowledge; those that asked share one pass over the target images.

        With several processes each passes over its share, and the terms combine what they saw.
        """
        context = self.context(stage)
        for term in self.terms:
            term.begin_stage(context)
        if not context.watchers:
            return
        self.model.eval()
        with torch.inference_mode(), self.autocast():
            for batch in self.images.target_pass(shared=True):
                view = View(self.network, batch)
                for see, _ in context.watchers:
                    see(view)
        self.images.faults.settle()
        for _, done in context.watchers:
            done()

    def step(self) -> dict[str, Tensor]:
        """One optimiser step of the network, then one of each term's own players; the losses by name.

        May be abandoned while it waits for images, with nothing changed. Raises `NotFinite` before a player would step
        on NaN or infinite numbers.
        """
        recipe = self.recipe
        taken = [self.images.next() for _ in range(recipe.accumulate)]  # before anything changes: it may be abandoned
        self.model.train()
        self.players.train()
        multiplier = recipe.learning_rate.multiplier(self.done, recipe.schedule.steps)
        for optimizer in (self.optimizer, *self.term_optimizers.values()):
            set_learning_rate(optimizer, multiplier)
            optimizer.zero_grad(set_to_none=True)
        kept = [buffer.clone() for buffer in self._buffers()] if self.skips else []
        logged: dict[str, Tensor] = {}
        steps = [self._learn(batches, logged) for batches in taken]
        average_gradients(self.model)
        self._check(self.model, logged, steps, kept)
        average_batch_statistics(self.model)
        if _has_gradients(self.model):
            if recipe.optimizer.clip is not None:
                self.fabric.clip_gradients(self.model, self.optimizer, max_norm=recipe.optimizer.clip)
            self.optimizer.step()
        for term in self.terms:
            term.follow(self.model)
        self._update_players(logged, steps)
        self._advance()
        return logged

    def _learn(self, batches: Batches, logged: dict[str, Tensor]) -> Step:
        """Gradients of all terms' losses on these batches."""
        for term in self.terms:
            batches = term.transform(*batches)
        at_head = self.recipe.method.labels_at == "head"
        step = PassStep(self.network, *batches, self.done, self.recipe.schedule.steps, at_head)
        self._note(learn(self.terms, step, self._backward, self.autocast), logged)
        self.decisions.add(step)
        return step

    def _update_players(self, logged: dict[str, Tensor], steps: list[Step]) -> None:
        """A step of every term's own optimiser."""
        for step in steps:
            with self.autocast():
                losses = merged(self.terms, [term.update(step) for term in self.terms])
            if losses:
                self._backward(summed(losses, "the terms' own players"))
                self._note(losses, logged)
        for number in self.term_optimizers:
            average_gradients(self.terms[number])
        self._check(self.players, logged, steps, [])
        for number, optimizer in self.term_optimizers.items():
            average_batch_statistics(self.terms[number])
            if _has_gradients(self.terms[number]):
                optimizer.step()

    def _backward(self, loss: Tensor) -> None:
        """Gradients of a step's share of a loss."""
        self.fabric.backward(loss / self.recipe.accumulate)

    def _note(self, losses: dict[str, Tensor], logged: dict[str, Tensor]) -> None:
        """Add a step's share of losses to what is logged of it."""
        for name, loss in losses.items():
            logged[name] = logged.get(name, torch.zeros_like(loss)) + loss.detach() / self.recipe.accumulate

    def _check(self, module: nn.Module, losses: dict[str, Tensor], steps: list[Step], kept: list[Tensor]) -> None:
        """Raises `NotFinite`, with buffers as they were `kept`, if a loss or a gradient of the module is not finite;
        and `UserError` if too many images, which ranks tell each other of here, cannot be used.

        Scaled gradients of "16-mixed" may overflow; its scaler leaves such steps out by itself.
        """
        scaled = self.fabric.strategy.precision.precision == "16-mixed"
        finite, faults = all_finite(losses.values(), module, not scaled, self.images.faults.pending)
        if faults:
            self.images.faults.settle()
        if finite:
            return
        for buffer, before in zip(self._buffers(), kept, strict=False):
            buffer.copy_(before)
        raise NotFinite(self.done, losses, [step.batches for step in steps])

    def _buffers(self) -> list[Tensor]:
        return [*self.model.buffers(), *self.players.buffers()]

    def _advance(self) -> None:
        self.done += 1
        self.images.seen += self.images.per_step

    def numbers(self) -> dict[str, float]:
        """What terms report of the current stage's frozen knowledge."""
        return merged(self.terms, [term.numbers() for term in self.terms])

    def figures(self) -> dict[str, np.ndarray]:
        """What terms show of the current stage's frozen knowledge: name -> uint8 RGB [H,W,3]. May be abandoned."""
        with abandonable():
            context = self.context()
            return merged(self.terms, [term.figures(context) for term in self.terms])

    def prepare_evaluation(self) -> None:
        """Let every term bring the network into the state in which it is scored."""
        for term in self.terms:
            term.prepare_evaluation(self.context())
        broadcast_state(self.model)  # all ranks score the same bits

    def context(self, stage: Stage | None = None) -> StageContext:
        """What terms are told of a stage, by default the current one."""
        return self.images.context(stage or self.recipe.schedule.stage_after(self.done), self.model)


def _has_gradients(module: nn.Module) -> bool:
    """Whether there is anything to step on: a scaler of half precision takes a step without gradients for a mistake."""
    return any(parameter.grad is not None for parameter in module.parameters())
