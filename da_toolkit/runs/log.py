"""What a run tells while it trains: reports, warnings, scores; and when it writes checkpoints and stops."""

import itertools
import time
from typing import Any

from da_toolkit.data.domain import DomainData
from da_toolkit.data.figures import save_png
from da_toolkit.errors import Stopped
from da_toolkit.ranks.parallel import from_main
from da_toolkit.runs.health import Health
from da_toolkit.runs.metrics_file import MetricsFile
from da_toolkit.runs.plan import RunPlan
from da_toolkit.runs.progress import TrainingProgress, make_progress
from da_toolkit.runs.provenance import environment, peak_memory_mb
from da_toolkit.runs.scoring import Scoring
from da_toolkit.runs.signals import StopRequest
from da_toolkit.runs.starts import precision_of
from da_toolkit.tracking.tracker import Tracker
from da_toolkit.training.guard import NotFinite
from da_toolkit.training.state import state_of
from da_toolkit.training.trainer import Trainer


class RunLog:
    """Reports and checkpoints while a run trains.

    Args:
        data: the digest of the run's images, which stands in its checkpoints.
    """

    def __init__(
        self,
        plan: RunPlan,
        trainer: Trainer,
        val: DomainData,
        tracker: Tracker,
        main: bool,
        stop: StopRequest,
        data: str,
    ) -> None:
        self.plan, self.trainer, self.tracker, self.main = plan, trainer, tracker, main
        self.stop, self.data = stop, data
        self.file = MetricsFile(plan.folder / "metrics.jsonl")
        self.progress: TrainingProgress = make_progress(plan.recipe.schedule.steps) if main else TrainingProgress()
        if main:
            trainer.images.faults.warn = self._warn
        self.started = time.perf_counter()
        self.scoring = Scoring(trainer, val, plan.folder, plan.runtime.best, main)
        self.health = Health(plan.recipe.schedule.steps)
        self.stage_ends = set(itertools.accumulate(stage.steps for stage in plan.recipe.schedule.stages))
        self.owed = False
        """Whether the evaluation after the steps done is still to come, since the run was stopped before its end."""

    def state(self) -> dict[str, Any]:
        """What a resumed run's log goes on from."""
        return {
            "seconds": self.seconds(),
            "scoring": self.scoring.state(),
            "health": self.health.state(),
            "metrics_bytes": self.file.size(),
            "owed": self.owed,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`; what was written after it is cut off, for those steps come again."""
        self.started = time.perf_counter() - state["seconds"]
        self.scoring.load_state(state["scoring"])
        self.health.load_state(state["health"])
        self.owed = state.get("owed", False)  # older checkpoints do not say
        if self.main:
            self.file.cut(state["metrics_bytes"])

    def seconds(self) -> float:
        """Run time, without what passed between a stop and its resumption."""
        return time.perf_counter() - self.started

    def report(self, step: int, losses: dict[str, float], rate: float) -> None:
        decisions = self.trainer.decisions.read()
        due = self.health.see(step, losses, decisions, self.trainer.terms)
        if self.main:
            top = {"target_top_class": max(decisions.values())} if decisions else {}
            self._write({**losses, **top, "images_per_second": rate}, step)
            self.progress.report(step, losses, rate)
            for warning in due:
                self._warn(warning)

    def bad_step(self, bad: NotFinite) -> None:
        """Keep its images, and say where they are and what to do."""
        trainer, rank = self.trainer, self.trainer.fabric.global_rank
        file = self.plan.folder / "bad_steps" / f"step_{bad.step + 1:08d}_rank_{rank}.npz"
        bad.save(file)
        images: dict[str, list[str]] = {}
        for batches in bad.batches:
            for data, batch in zip((trainer.images.source, trainer.images.target), batches, strict=True):
                if data is not None and batch is not None:
                    keys = [data.key(index) for index in batch.index.tolist()]
                    images.setdefault(f"{data.name} {data.split}", []).extend(keys)
        shown = "; ".join(f"{name}: {', '.join(keys)}" for name, keys in images.items())
        text = f"Step {bad.step + 1}: {bad.found}. Images: {shown}. They are kept in {file}."
        if trainer.skipped < trainer.skips:
            self._warn(f"warning: {text} The step is left out.")
            return
        saved = self.plan.checkpoints.files()
        kept = "The last checkpoint was written before it" if saved else "There is no checkpoint yet"
        bad.args = (
            f"{text} {kept}. Lower the learning rate or the weight of that "
            "loss, clip gradients (--optimizer.clip), use --precision 32-true or bf16-mixed, or leave out such steps "
            "with --skip-bad-steps N.",
        )

    def _warn(self, text: str) -> None:
        """Tell it, and keep it in `metrics.jsonl` if this is the rank that writes it."""
        self.progress.note(text)
        if self.main:
            self.file.warn(text, self.trainer.done)

    def _write(self, values: dict[str, float], step: int) -> None:
        self.file.write(values, step)
        self.tracker.metrics(values, step)

    def after_step(self, step: int) -> None:
        """Evaluate, save and stop, as far as it is due or asked for.

        A checkpoint is written before an evaluation, which may meet a label that cannot be used, and at each stage's
        end: what the next one begins with changes the terms bit by bit.
        """
        self.progress.advance(step)
        total, every = self.plan.recipe.schedule.steps, self.plan.recipe.evaluation.every
        self.scoring.follow()
        self.owed = step == total or bool(every and step % every == 0)
        stops = self.stop.asked(self.trainer.fabric)
        if self.owed and not stops:
            from_main(self._save)
            self.score_what_is_owed()
        if stops or step in self.stage_ends or step % self.plan.runtime.save_every == 0:
            from_main(self._save)
        if stops and (step < total or self.owed):
            raise self._stopped()

    def _save(self) -> None:
        state = {**state_of(self.trainer), "log": self.state(), "data": self.data}
        self.plan.checkpoints.save(self.trainer.done, state)

    def _stopped(self) -> Stopped:
        if not self.main:
            return Stopped()  # one telling is enough
        folder = self.plan.checkpoints.folder
        kept = f"a checkpoint is written in {folder}. The same command goes on from there."
        if self.plan.checkpoints.newest() is None:
            kept = "there is no checkpoint yet. The same command begins anew."
        done, total = self.trainer.done, self.plan.recipe.schedule.steps
        return Stopped(f"Stopped by {self.stop.name or 'a signal'} after step {done} of {total}; {kept}")

    def abandoned(self) -> Stopped:
        """What tells of the end of a run that was broken off, its steps kept.

        By this rank alone: others may wait where nobody answers. Where a stage begins, the state may be more than that
        of the last step; its checkpoint was written at the end of the stage before.
        """
        done, checkpoints = self.trainer.done, self.plan.checkpoints
        if self.main and (self.owed or (done and done != checkpoints.newest())):
            self._save()
        return self._stopped()

    def make_up(self) -> None:
        """In a resumed run, the evaluation that the stopped one did not get to."""
        if self.owed:
            self.score_what_is_owed()
            from_main(self._save)

    def score_what_is_owed(self) -> None:
        """The evaluation that is due after the steps done. May be abandoned, and is owed then."""
        if self.owed:
            self._score(self.trainer.done)
            self.owed = False

    def _score(self, step: int) -> None:
        last = step == self.plan.recipe.schedule.steps
        scores, found = self.scoring.evaluate(step) if last else self.scoring.look(step)
        if self.main:
            mious = {f"miou_{name}": value.miou for name, value in scores.items()}
            self._write(mious | {f"validator_{name}": value for name, value in found.items()}, step)
            first = next(iter(scores.values()))
            self.tracker.table("per_class", {"class": list(first.per_class), "iou": list(first.per_class.values())})
            self.progress.score(first.miou)

    def frozen(self, stage: str) -> None:
        """Tell what terms know as a stage begins, and keep the pictures they show of it."""
        if not self.main:
            return
        numbers = self.trainer.numbers()
        self._write({"stage": self._stage_number(), **numbers}, self.trainer.done)
        if numbers:
            self.progress.note(f"{stage}: " + ", ".join(f"{name} {value:.3g}" for name, value in numbers.items()))
        for name, picture in self.trainer.figures().items():
            save_png(self.plan.folder / "pictures" / f"{stage.replace(' ', '_')}_{name}.png", picture)

    def _stage_number(self) -> int:
        """Of the stage that the next step belongs to, from 1."""
        return 1 + sum(end <= self.trainer.done for end in self.stage_ends)

    def result(self) -> dict[str, Any]:
        plan, recipe, device = self.plan, self.plan.recipe, self.trainer.fabric.device
        return {
            "recipe": plan.name,
            "method": "+".join(type(part).__name__ for part in (recipe.method, *recipe.method.regularizers)),
            "seed": plan.runtime.seed,
            "steps": recipe.schedule.steps,
            **self.scoring.result(),
            "seconds": self.seconds(),
            "peak_memory_mb": peak_memory_mb(device),
            "precision": from_main(lambda: precision_of(plan.folder, plan.runtime.precision)),
            "reported": recipe.to_json()["reported"],
            **environment(device),
        }
