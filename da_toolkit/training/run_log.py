"""What a run tells while it trains: reports, evaluations, pictures, checkpoints."""

import itertools
import time
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch

from da_toolkit.data.domain import DomainData
from da_toolkit.evaluation.evaluate import evaluate
from da_toolkit.evaluation.predict import predict_images
from da_toolkit.evaluation.protocols import protocols_for, score
from da_toolkit.evaluation.validators import Validators
from da_toolkit.report.figures import prediction_grid, save_png, save_predictions
from da_toolkit.training.checkpoint import save_weights
from da_toolkit.training.guard import NotFinite
from da_toolkit.training.health import Health
from da_toolkit.training.parallel import from_main
from da_toolkit.training.progress import TrainingProgress, make_progress
from da_toolkit.training.provenance import environment, peak_memory_mb
from da_toolkit.training.signals import Stopped, StopRequest
from da_toolkit.training.tracking import MetricsFile, Tracker
from da_toolkit.training.trainer import Trainer

if TYPE_CHECKING:
    from da_toolkit.training.session import Session

PICTURES = 4
Choice = Literal["none", "entropy", "soft_neighbourhood_density", "teacher_agreement", "source_score", "target_labels"]


class RunLog:
    """Evaluations, checkpoints and reports while a session trains."""

    def __init__(
        self, session: "Session", trainer: Trainer, val: DomainData, tracker: Tracker, main: bool, stop: StopRequest
    ) -> None:
        self.session, self.trainer, self.val, self.tracker, self.main = session, trainer, val, tracker, main
        self.stop = stop
        self.file = MetricsFile(session.folder / "metrics.jsonl")
        self.progress: TrainingProgress = make_progress(session.recipe.schedule.steps) if main else TrainingProgress()
        trainer.warn = self.progress.note if main else trainer.warn
        self.started = time.perf_counter()
        self.last: dict[str, Any] = {}
        self.best: dict[str, Any] | None = None
        self.evaluations: list[dict[str, Any]] = []
        self.kept_best: dict[str, Any] | None = None
        self.validators = make_validators(session, trainer)
        self.health = Health(session.recipe.schedule.steps)

    def state(self) -> dict[str, Any]:
        """What a resumed run's log goes on from."""
        return {
            "seconds": self.seconds(),
            "last": self.last,
            "best": self.best,
            "evaluations": self.evaluations,
            "kept_best": self.kept_best,
            "validators": self.validators.state_dict() if self.validators else None,
            "health": self.health.state(),
            "metrics_bytes": self.file.size(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`; what was written after it is cut off, for those steps come again."""
        self.started = time.perf_counter() - state["seconds"]
        self.last, self.best, self.evaluations = state["last"], state["best"], state["evaluations"]
        self.kept_best = state["kept_best"]
        self.health.load_state(state["health"])
        if self.validators:
            self.validators.load_state_dict(state["validators"])
        if self.main:
            self.file.cut(state["metrics_bytes"])

    def seconds(self) -> float:
        """Run time, without what passed between a stop and its resumption."""
        return time.perf_counter() - self.started

    def report(self, step: int, losses: dict[str, float], rate: float) -> None:
        decisions = self.trainer.decisions()
        due = self.health.see(step, losses, decisions, self.trainer.terms)
        if self.main:
            top = {"target_top_class": max(decisions.values())} if decisions else {}
            self._write({**losses, **top, "images_per_second": rate}, step)
            self.progress.report(step, losses, rate)
            for warning in due:
                self.progress.note(warning)

    def bad_step(self, bad: NotFinite) -> None:
        """Keep its images, and say where they are and what to do."""
        trainer, rank = self.trainer, self.trainer.fabric.global_rank
        file = self.session.folder / "bad_steps" / f"step_{bad.step + 1:08d}_rank_{rank}.npz"
        bad.save(file)
        images: dict[str, list[str]] = {}
        for batches in bad.batches:
            for data, batch in zip((trainer.source, trainer.target), batches, strict=True):
                if batch is not None:
                    keys = [data.key(index) for index in batch.index.tolist()]
                    images.setdefault(f"{data.name} {data.split}", []).extend(keys)
        shown = "; ".join(f"{name}: {', '.join(keys)}" for name, keys in images.items())
        text = f"Step {bad.step + 1}: {bad.found}. Images: {shown}. They are kept in {file}."
        if trainer.skipped < trainer.skips:
            self.progress.note(f"warning: {text} The step is left out.")
            return
        bad.args = (
            f"{text} The weights before it are in the last checkpoint. Lower the learning rate or the weight of that "
            "loss, clip gradients (--optimizer.clip), use --precision 32-true or bf16-mixed, or leave out such steps "
            "with --skip-bad-steps N.",
        )

    def _write(self, values: dict[str, float], step: int) -> None:
        self.file.write(values, step)
        self.tracker.metrics(values, step)

    def after_step(self, step: int) -> None:
        self.progress.advance(step)
        recipe, total = self.session.recipe, self.session.recipe.schedule.steps
        if self.validators:
            self.validators.follow(self.trainer.model)
        every = recipe.evaluation.every
        if step == total:
            self.evaluate(step)
        elif every and step % every == 0:
            buffers = [buffer.clone() for buffer in self.trainer.model.buffers()]
            self.evaluate(step)
            for buffer, kept in zip(self.trainer.model.buffers(), buffers, strict=True):
                buffer.copy_(kept)  # a look on the way must not change what is trained
        stops = self.stop.asked(self.trainer.fabric)
        if stops or step == total or step % self.session.runtime.save_every == 0:
            from_main(lambda: self.session.checkpoints.save(step, {**self.trainer.state(), "log": self.state()}))
        if stops and step < total:
            if not self.main:
                raise Stopped()  # one telling is enough
            raise Stopped(
                f"Stopped by {self.stop.name or 'a signal'} after step {step} of {total}; a checkpoint is written in "
                f"{self.session.checkpoints.folder}. The same command goes on from there."
            )

    def evaluate(self, step: int) -> None:
        trainer, recipe = self.trainer, self.session.recipe
        fabric = trainer.fabric
        trainer.prepare_evaluation()
        confusions = evaluate(
            trainer.model,
            self.val,
            recipe.evaluation,
            recipe.target.size,
            fabric.device,
            trainer.autocast,
            fabric.global_rank,
            fabric.world_size,
            self._sum,
        )
        scores = {p.name: score(confusions.sum(0), p) for p in protocols_for(self.val.label_space)}
        main_protocol = next(iter(scores))
        miou = scores[main_protocol].miou
        self.last = {name: value.to_json() for name, value in scores.items()}
        highest = self.best[main_protocol]["miou"] if self.best else None
        if highest is None or miou > highest:
            self.best = {"step": step, **self.last}
        found = self.validators.scores(trainer.model, fabric.device, trainer.autocast) if self.validators else {}
        self.evaluations.append({"step": step, "scores": self.last, "validators": found})
        self.keep_best(step, found | {"target_labels": miou})
        if self.main:
            mious = {f"miou_{name}": value.miou for name, value in scores.items()}
            self._write(mious | {f"validator_{name}": value for name, value in found.items()}, step)
            self.keep_confusions(confusions)
            per_class = scores[main_protocol].per_class
            self.tracker.table("per_class", {"class": list(per_class), "iou": list(per_class.values())})
            self.picture(step)
            self.progress.score(miou)

    def keep_best(self, step: int, found: dict[str, float]) -> None:
        """Keep the weights if they are the best so far by the run's choice; the first of equals."""
        by = self.session.runtime.best
        if by not in found or (self.kept_best is not None and found[by] <= self.kept_best["value"]):
            return
        self.kept_best = {"by": by, "step": step, "value": found[by]}
        if self.main:
            save_weights(self.session.folder / "best.safetensors", self.trainer.model)

    def _sum(self, counts: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.trainer.fabric.all_reduce(counts, reduce_op="sum"))

    def picture(self, step: int) -> None:
        """Predictions on the first validation images beside their labels."""
        recipe, val = self.session.recipe, self.val
        indices = range(min(PICTURES, len(val)))
        images = [val.image(index) for index in indices]
        predictions = predict_images(self.trainer.model, images, recipe, self.trainer.fabric.device)
        columns = {"prediction": predictions, "label": [val.label(index) for index in indices]}
        grid = prediction_grid(images, columns, val.label_space)
        save_png(self.session.folder / "pictures" / f"step_{step:06d}.png", grid)
        save_predictions(self.session.folder / "predictions", images, columns, val.label_space)

    def keep_confusions(self, confusions: torch.Tensor) -> None:
        """Pixel counts of every validation image, from which `compare` draws its intervals."""
        keys = [self.val.key(index) for index in range(len(confusions))]
        self.session.folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(self.session.folder / "confusions.npz", counts=confusions.cpu().numpy(), keys=keys)

    def frozen(self, stage: str) -> None:
        """Tell what terms know as a stage begins, and keep the pictures they show of it."""
        if not self.main:
            return
        numbers = self.trainer.numbers()
        self._write({"stage": self._stage_number(), **numbers}, self.trainer.done)
        if numbers:
            self.progress.note(f"{stage}: " + ", ".join(f"{name} {value:.3g}" for name, value in numbers.items()))
        for name, picture in self.trainer.figures().items():
            save_png(self.session.folder / "pictures" / f"{stage.replace(' ', '_')}_{name}.png", picture)

    def _stage_number(self) -> int:
        """Of the stage that the next step belongs to, from 1."""
        ends = itertools.accumulate(stage.steps for stage in self.session.recipe.schedule.stages)
        return 1 + sum(end <= self.trainer.done for end in ends)

    def result(self) -> dict[str, Any]:
        session, recipe, device = self.session, self.session.recipe, self.trainer.fabric.device
        return {
            "recipe": session.name,
            "method": "+".join(type(part).__name__ for part in (recipe.method, *recipe.method.regularizers)),
            "seed": session.runtime.seed,
            "steps": recipe.schedule.steps,
            "scores": self.last,
            "oracle_choice_on_target_labels": self.best,
            "evaluations": self.evaluations,
            "kept_best": self.kept_best,
            "seconds": self.seconds(),
            "peak_memory_mb": peak_memory_mb(device),
            "precision": session.runtime.precision,
            "reported": recipe.to_json()["reported"],
            **environment(device),
        }


def make_validators(session: "Session", trainer: Trainer) -> Validators | None:
    """The label-free scores that the recipe asks for."""
    recipe = session.recipe
    if not recipe.evaluation.validators:
        return None
    sizes = recipe.source.size, recipe.evaluation_size
    made = Validators(
        trainer.model, trainer.source, trainer.target, sizes, recipe.evaluation.validators, session.runtime.seed
    )
    return made.to(trainer.fabric.device)
