"""The one trainer: loop, devices, precision, optimisers, checkpoints. It never asks which method it runs."""

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from da_toolkit.data.batch import Batch, Fault
from da_toolkit.data.domain import DomainData
from da_toolkit.data.loader import Loading
from da_toolkit.data.rare_classes import RareClassSampler, image_class_shares
from da_toolkit.data.samples import Samples
from da_toolkit.data.sampling import EpochSampler, Place
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import UserError
from da_toolkit.methods.term import BuildContext, Term
from da_toolkit.recipe import Recipe
from da_toolkit.regularizers.rpt.superpixels import SuperpixelCache
from da_toolkit.training.guard import NotFinite, all_finite
from da_toolkit.training.optim import set_learning_rate
from da_toolkit.training.parallel import (
    average_batch_statistics,
    average_gradients,
    broadcast_state,
    gathered_in_turn,
)
from da_toolkit.training.stages import RegionIndex, Stage, StageContext
from da_toolkit.training.step import Step, View

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Report = Callable[[int, dict[str, float], float], None]
"""Called every `log_every` steps with the steps done, the mean losses since, and images per second."""


class Trainer:
    """Trains a recipe's network with its terms.

    Args:
        recipe: what to train.
        fabric: devices and precision.
        source, target: training images. Target labels are opened only if the method's `reads` names them.
        seed: decides initial weights, data order and augmentation.
        workers: loader processes per domain; 0 loads in this one.
        compile: pass the network through `torch.compile`.
        skip_bad_steps: steps with NaN or infinite numbers that `fit` leaves out before it raises.
        bad_files: share 0..1 of a domain's images that may be unusable before the run stops.
    """

    def __init__(
        self,
        recipe: Recipe,
        fabric: "Fabric",
        source: DomainData,
        target: DomainData,
        seed: int = 0,
        workers: int = 0,
        compile: bool = False,
        skip_bad_steps: int = 0,
        bad_files: float = 0.0,
    ) -> None:
        self.recipe, self.fabric, self.seed, self.workers = recipe, fabric, seed, workers
        self.source, self.target = source, target
        self.reads = recipe.method.reads
        superpixels = recipe.method.superpixels
        self.regions = SuperpixelCache(superpixels, recipe.target.size) if superpixels is not None else None
        self.region_index: RegionIndex | None = None
        torch.manual_seed(seed)
        space = recipe.source.label_space
        self.model = recipe.model.build(len(space)).to(fabric.device).to(memory_format=torch.channels_last)
        recipe.model.warm_start(self.model, space.classes)
        context = BuildContext(space, self.model.feature_channels, self.model, recipe.model)
        self.players = nn.ModuleList(recipe.method.build(context)).to(fabric.device)
        self.players.to(memory_format=torch.channels_last)
        self.terms = cast(list[Term], list(self.players))
        network = torch.compile(self.model) if compile else self.model
        self.network = self._in_precision(network)
        groups = self.model.parameter_groups(recipe.optimizer.lr, recipe.optimizer.head_multiplier)
        own = {number: term.optimizer() for number, term in enumerate(self.terms)}
        self.optimizer = self._set_up(recipe.optimizer.build(groups))
        self.term_optimizers = {number: self._set_up(o) for number, o in own.items() if o is not None}
        broadcast_state(self.model, self.players)
        self.done = 0  # optimiser steps
        self.skips, self.skipped = skip_bad_steps, 0
        self.bad_files = bad_files
        self.loading: list[Loading] = []
        self.faults: dict[int, dict[int, str]] = {id(source): {}, id(target): {}}
        self.warn: Callable[[str], None] = lambda text: print(text, file=sys.stderr)
        self.meter = _Meter(self._images_per_step())
        self.decided = torch.zeros(len(space), dtype=torch.int64, device=fabric.device)
        self.images = 0  # of each domain, by all ranks together

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

        Args:
            after_step: told the steps done; may evaluate and save.
            on_stage: told a stage's name as it begins.
            on_frozen: told a stage's name when its frozen knowledge is made; `numbers` and `figures` show it.
            on_bad_step: told of every step with NaN or infinite numbers, before it is left out or raised.
        """
        try:
            self._fit(report, log_every, after_step, on_stage, on_frozen, on_bad_step)
        finally:
            for loading in self.loading:
                loading.close()

    def _fit(
        self,
        report: Report,
        log_every: int,
        after_step: Callable[[int], None],
        on_stage: Callable[[str], None],
        on_frozen: Callable[[str], None],
        on_bad_step: Callable[[NotFinite], None],
    ) -> None:
        source, target = self.streams()
        meter = self.meter
        meter.pause()
        begin = 0
        for stage in self.recipe.schedule.stages:
            end = begin + stage.steps
            if self.done < end:
                on_stage(stage.name)
            if self.done == begin:
                self.begin(stage)
                on_frozen(stage.name)
                meter.restart()
            while self.done < end:
                try:
                    meter.add(self.step(source, target))
                except NotFinite as bad:
                    on_bad_step(bad)
                    self.skipped += 1
                    if self.skipped > self.skips:
                        raise
                    self._advance()
                if self.done % log_every == 0 or self.done == self.recipe.schedule.steps:
                    report(self.done, *meter.read())
                after_step(self.done)
                meter.pause()
            begin = end

    def begin(self, stage: Stage) -> None:
        """Terms rebuild their frozen knowledge; those that asked share one pass over the target images.

        With several processes each passes over its share, and the terms combine what they saw.
        """
        context = self._context(stage)
        for term in self.terms:
            term.begin_stage(context)
        if not context.watchers:
            return
        self.model.eval()
        with torch.inference_mode(), self.autocast():
            for batch in self._target_pass(shared=True):
                view = View(self.network, batch)
                for see, _ in context.watchers:
                    see(view)
        for _, done in context.watchers:
            done()

    def numbers(self) -> dict[str, float]:
        """What terms report of the current stage's frozen knowledge."""
        return _merged(self.terms, [term.numbers() for term in self.terms])

    def figures(self) -> dict[str, np.ndarray]:
        """What terms show of the current stage's frozen knowledge: name -> uint8 RGB [H,W,3]."""
        context = self._context(self._current_stage())
        return _merged(self.terms, [term.figures(context) for term in self.terms])

    def prepare_evaluation(self) -> None:
        """Let every term bring the network into the state in which it is scored."""
        stage = self._current_stage()
        for term in self.terms:
            term.prepare_evaluation(self._context(stage))
        broadcast_state(self.model)  # all ranks score the same bits

    def streams(self) -> tuple[Iterator[Batch] | None, Iterator[Batch] | None]:
        """Endless source and target batches from the next step on; none for a domain that the method does not read."""
        recipe, skip = self.recipe, self.images
        source = self._batches(self.source, recipe.source.size, recipe.source_augmentation, 0, skip)
        target = self._batches(self.target, recipe.target.size, recipe.target_augmentation, 1, skip)
        self.loading = [stream for stream in (source, target) if stream is not None]
        return source, target

    def step(self, source: Iterator[Batch] | None, target: Iterator[Batch] | None) -> dict[str, Tensor]:
        """One optimiser step of the network, then one of each term's own players; the losses by name.

        Raises `NotFinite` before a player would step on NaN or infinite numbers.
        """
        self.model.train()
        self.players.train()
        recipe, parts = self.recipe, self.recipe.accumulate
        multiplier = recipe.learning_rate.multiplier(self.done, recipe.schedule.steps)
        optimizers = [self.optimizer, *self.term_optimizers.values()]
        for optimizer in optimizers:
            set_learning_rate(optimizer, multiplier)
            optimizer.zero_grad(set_to_none=True)
        kept = [buffer.clone() for buffer in self._buffers()] if self.skips else []
        logged: dict[str, Tensor] = {}
        steps: list[Step] = []
        for _ in range(parts):
            batches = self._next(source, self.source), self._next(target, self.target)
            for term in self.terms:
                batches = term.transform(*batches)
            step = Step(self.network, *batches, self.done, recipe.schedule.steps)
            steps.append(step)
            with self.autocast():
                losses = _merged(self.terms, [term.losses(step) for term in self.terms])
            self._backward(losses, parts, logged, "the network")
            self._count_decisions(step)
        average_gradients(self.model)
        self._check(self.model, logged, steps, kept)
        average_batch_statistics(self.model)
        if recipe.optimizer.clip is not None:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=recipe.optimizer.clip)
        self.optimizer.step()
        for term in self.terms:
            term.follow(self.model)
        for step in steps:
            with self.autocast():
                losses = _merged(self.terms, [term.update(step) for term in self.terms])
            self._backward(losses, parts, logged, "the terms' own players")
        for number in self.term_optimizers:
            average_gradients(self.terms[number])
        self._check(self.players, logged, steps, [])
        for number, optimizer in self.term_optimizers.items():
            average_batch_statistics(self.terms[number])
            if any(parameter.grad is not None for parameter in self.terms[number].parameters()):
                optimizer.step()
        self._advance()
        return logged

    def _advance(self) -> None:
        self.done += 1
        self.images += self.recipe.batch_size * self.recipe.accumulate * self.fabric.world_size

    def _check(self, module: nn.Module, losses: dict[str, Tensor], steps: list[Step], kept: list[Tensor]) -> None:
        """Raises `NotFinite`, with buffers as they were `kept`, if a loss or a gradient of the module is not finite.

        Scaled gradients of "16-mixed" may overflow; its scaler leaves such steps out by itself.
        """
        scaled = self.fabric.strategy.precision.precision == "16-mixed"
        if all_finite(losses.values(), module, gradients=not scaled):
            return
        for buffer, before in zip(self._buffers(), kept, strict=False):
            buffer.copy_(before)
        raise NotFinite(self.done, losses, [step.batches for step in steps])

    def _buffers(self) -> list[Tensor]:
        return [*self.model.buffers(), *self.players.buffers()]

    def _count_decisions(self, step: Step) -> None:
        """Which classes the network gives the target's pixels, where a term has looked at them anyway."""
        if (logits := step.target_logits) is not None:
            decided = logits.detach().argmax(1).flatten()
            self.decided.scatter_add_(0, decided, torch.ones_like(decided))

    def decisions(self) -> dict[str, float]:
        """Percent of target pixels by class since this was last asked; empty where no term looks at the target."""
        counts = self.decided.tolist()
        self.decided.zero_()
        total = sum(counts)
        names = self.recipe.source.label_space.classes
        return {name: 100 * count / total for name, count in zip(names, counts, strict=True)} if total else {}

    def _backward(self, losses: dict[str, Tensor], parts: int, logged: dict[str, Tensor], learner: str) -> None:
        """Gradients of the losses' sum for whom they train; raises `UserError` for what is no loss of theirs."""
        if not losses:
            return
        for name, loss in losses.items():
            if not isinstance(loss, Tensor):
                raise UserError(
                    f"The loss {name!r} is {loss!r}, and a loss is a tensor of one number: let the term that gives it "
                    "compute it with torch, without .item()."
                )
            if loss.ndim:
                raise UserError(
                    f"The loss {name!r} has the shape {tuple(loss.shape)}, and a loss is one number: let the term that "
                    "gives it return its mean."
                )
        together = torch.stack(list(losses.values())).sum() / parts
        if not together.requires_grad:
            raise UserError(
                f"No loss ({', '.join(losses)}) depends on {learner}, so nothing would be trained: compute one "
                "from what comes out there, without `detach` or `no_grad` on the way."
            )
        self.fabric.backward(together)
        for name, loss in losses.items():
            logged[name] = logged.get(name, torch.zeros_like(loss)) + loss.detach() / parts

    def _images_per_step(self) -> int:
        domains = int(self.reads.source) + int(self.reads.target)
        return domains * self.recipe.batch_size * self.recipe.accumulate * self.fabric.world_size

    def _next(self, batches: Iterator[Batch] | None, data: DomainData) -> Batch | None:
        return None if batches is None else self._on_device(next(batches), data)

    def _on_device(self, batch: Batch, data: DomainData) -> Batch:
        self._notice(batch.faults, data)
        return batch.to(self.fabric.device, channels_last=True)

    def _notice(self, faults: tuple[Fault, ...], data: DomainData) -> None:
        """Tell of each unusable image once. Raises `UserError` when there are too many."""
        known = self.faults[id(data)]
        for index, why in faults:
            if index in known:
                continue
            known[index] = why
            if len(known) > self.bad_files * len(data):
                raise UserError(
                    f"{len(known)} of {len(data)} images of {data.name} {data.split} cannot be used, more than "
                    f"--bad-files {self.bad_files:g} allows. The last: {why}"
                )
            self.warn(f"warning: {data.name} {data.split}: {why} Another image takes its place.")

    def _batches(
        self, data: DomainData, size: tuple[int, int], augmentation: Augmentation, stream: int, skip: int
    ) -> Loading | None:
        wanted = self.reads.source if data is self.source else self.reads.target
        if not wanted:
            return None
        labels = data is self.source or self.reads.target_labels
        seed = 2 * self.seed + stream
        regions = self.regions if data is self.target else None
        rare = self.recipe.rare_classes if data is self.source else None
        keys = self._region_keys() if data is self.target else None
        samples = Samples(data, size, augmentation, labels, seed, regions, rare.least if rare else 0.0, keys)
        place = self.recipe.batch_size, seed, skip, self.fabric.global_rank, self.fabric.world_size
        if rare is not None:
            return Loading(samples, RareClassSampler(rare, image_class_shares(data), *place), self.workers)
        return Loading(samples, EpochSampler(len(data), *place), self.workers)

    def _current_stage(self) -> Stage:
        begin = 0
        for stage in self.recipe.schedule.stages:
            begin += stage.steps
            if self.done <= begin:
                break
        return stage

    def _context(self, stage: Stage) -> StageContext:
        return StageContext(
            stage,
            self.model,
            self._target_pass,
            self._labels,
            self._region_index(),
            len(self.target),
            self.recipe.evaluation_size,
            self.fabric.device,
            self.seed,
        )

    def _region_index(self) -> RegionIndex | None:
        """Superpixels of every target image, made where they are missing; once a run."""
        if self.regions is not None and self.region_index is None:
            rank, world = self.fabric.global_rank, self.fabric.world_size
            cores = max(1, (os.cpu_count() or 1) // world)
            counts, keys = self.regions.survey(self.target, cores, range(rank, len(self.target), world))
            self.region_index = RegionIndex(gathered_in_turn(counts), gathered_in_turn(keys))
        return self.region_index

    def _region_keys(self) -> Sequence[str] | None:
        index = self._region_index()
        return index.keys if index is not None else None

    def _target_pass(self, shared: bool = False) -> Iterator[Batch]:
        """At the resolution at which the network is scored; `shared` = this rank's batches of those dealt in turn."""
        size, keys = self.recipe.evaluation_size, self._region_keys()
        samples = Samples(self.target, size, Augmentation(), False, 0, self.regions, keys=keys)
        together = max(self.recipe.batch_size, 4)
        order = torch.randperm(len(self.target), generator=torch.Generator().manual_seed(self.seed)).tolist()
        places: list[list[Place]] = [
            [(0, index) for index in order[start : start + together]] for start in range(0, len(order), together)
        ]
        if shared:
            places = places[self.fabric.global_rank :: self.fabric.world_size]
        for batch in Loading(samples, places, self.workers):
            yield self._on_device(batch, self.target)

    def _labels(self, domain: Literal["source", "target"]) -> Iterator[np.ndarray]:
        data, size, allowed = {
            "source": (self.source, self.recipe.source.size, self.reads.source),
            "target": (self.target, self.recipe.target.size, self.reads.target_labels),
        }[domain]
        if not allowed:
            raise UserError(f"A term asks for {domain} labels, and the method's `own_reads` does not name them.")
        order = np.random.default_rng(self.seed).permutation(len(data))
        return (cv2.resize(data.label(i), size[::-1], interpolation=cv2.INTER_NEAREST) for i in order.tolist())

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs, as tensors and plain values: the same on every rank."""
        on_gpu = self.fabric.device.type == "cuda"
        return {
            "done": self.done,
            "images": self.images,
            "model": self.model.state_dict(),
            "terms": self.players.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "term_optimizers": {number: o.state_dict() for number, o in self.term_optimizers.items()},
            "precision": self.fabric.strategy.precision.state_dict(),
            "skipped": self.skipped,
            "meter": self.meter.state(),
            "decided": self.decided,
            "region_index": dataclasses.asdict(self.region_index) if self.region_index is not None else None,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.fabric.device) if on_gpu else None,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`, which may be that of a run with another number of ranks.

        Then the next step takes the images that follow those already seen; a step is of `batch_size` images a rank, so
        it has more or fewer of them than before.
        """
        self.done, self.images = state["done"], state["images"]
        self.model.load_state_dict(state["model"])
        self.players.load_state_dict(state["terms"])
        self.optimizer.load_state_dict(state["optimizer"])
        for number, optimizer in self.term_optimizers.items():
            optimizer.load_state_dict(state["term_optimizers"][number])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.skipped = state["skipped"]
        self.meter.load_state(state["meter"])
        self.decided.copy_(state["decided"])
        if state["region_index"] is not None:  # of the images that frozen knowledge was made on, not of today's
            self.region_index = RegionIndex(**state["region_index"])
        torch.set_rng_state(state["rng"].cpu())
        if state["cuda_rng"] is not None and self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"].cpu(), self.fabric.device)


T = TypeVar("T")


def _merged(terms: Sequence[Term], parts: Sequence[dict[str, T]]) -> dict[str, T]:
    """One dictionary of all terms' losses, numbers or figures. Raises `UserError` if two share a name."""
    merged: dict[str, T] = {}
    owners: dict[str, str] = {}
    for term, named in zip(terms, parts, strict=True):
        owner = type(term).__name__
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named):
            raise UserError(
                f"The losses, numbers or figures of {owner} must be a dictionary, name -> value; got {named!r}."
            )
        for name in named:
            if name in owners:
                raise UserError(
                    f"{owners[name]} and {owner} both name something {name!r}: rename it in one, or leave one out."
                )
            owners[name] = owner
        merged |= named
    return merged


class _Meter:
    """Mean losses and images per second between two reports; losses stay on the device until then."""

    def __init__(self, images_per_step: int) -> None:
        self.images_per_step = images_per_step
        self.restart()

    def restart(self) -> None:
        self.sums: dict[str, tuple[Tensor, int]] = {}
        self.steps, self.seconds = 0, 0.0
        self.mark = time.perf_counter()

    def add(self, losses: dict[str, Tensor]) -> None:
        for name, value in losses.items():
            total, count = self.sums.get(name, (torch.zeros_like(value), 0))
            self.sums[name] = total + value, count + 1
        self.steps += 1
        self.seconds += time.perf_counter() - self.mark
        self.mark = time.perf_counter()

    def pause(self) -> None:
        """Leave out what happened since the last step, such as an evaluation."""
        self.mark = time.perf_counter()

    def read(self) -> tuple[dict[str, float], float]:
        """Empty and 0 if every step since the last report was left out."""
        losses, rate = {}, 0.0
        if self.sums:
            means = torch.stack([total / count for total, count in self.sums.values()]).tolist()
            rate = self.images_per_step * self.steps / self.seconds
            losses = dict(zip(self.sums, means, strict=True))
        self.restart()
        return losses, rate

    def state(self) -> dict[str, Any]:
        return {"sums": self.sums, "steps": self.steps, "seconds": self.seconds}

    def load_state(self, state: dict[str, Any]) -> None:
        self.sums, self.steps, self.seconds = dict(state["sums"]), state["steps"], state["seconds"]
        self.pause()
