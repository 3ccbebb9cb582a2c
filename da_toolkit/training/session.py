"""One run from recipe to `result.json`: builds everything, trains, scores, and keeps the run's folder."""

import itertools
import json
import shutil
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from safetensors.torch import save_file

from da_toolkit.data.domain import DomainData
from da_toolkit.data.transforms import resized
from da_toolkit.errors import UserError
from da_toolkit.evaluation.evaluate import evaluate, evaluating, to_input
from da_toolkit.evaluation.inference import predict
from da_toolkit.evaluation.protocols import protocols_for, score
from da_toolkit.evaluation.validators import Validators
from da_toolkit.models.segmenter import Segmenter
from da_toolkit.recipe import Recipe, flatten
from da_toolkit.report.figures import prediction_grid, save_png, save_predictions
from da_toolkit.training.checkpoint import load_checkpoint, save_checkpoint
from da_toolkit.training.lock import locked
from da_toolkit.training.progress import TrainingProgress, make_progress
from da_toolkit.training.provenance import environment, peak_memory_mb, write_json
from da_toolkit.training.signals import Stopped, StopRequest
from da_toolkit.training.tracking import MetricsFile, NoTracker, Tracker, make_tracker
from da_toolkit.training.trainer import Trainer

PICTURES = 4


@dataclass(frozen=True)
class Runtime:
    """What may differ between machines without changing what is trained."""

    seed: int = 0
    """Decides initial weights, data order and augmentation."""
    data_root: Path | None = None
    """Folder that holds the data sets, each in its own folder (GTA5, cityscapes, ...)."""
    runs: Path = Path("runs")
    """Folder of all runs; this one is kept in RUNS/RECIPE/SEED."""
    devices: int = 1
    """Processes, one a GPU (or CPU process)."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic of the networks."""
    tracking: str = "mlflow"
    """"mlflow" (SQLite in the runs folder), "none", or the URI of an MLflow server."""
    workers: int = 2
    """Loader processes for each domain; 0 loads in the training process."""
    log_every: int = 10
    """Steps between reports."""
    save_every: int = 500
    """Steps between checkpoints."""
    compile: bool = False
    """Pass the network through torch.compile."""
    resume: bool = False
    """Insist on continuing from the run folder's checkpoint, which an unfinished run of the same recipe does anyway."""
    overwrite: bool = False
    """Start anew in a folder that holds a run, deleting it."""

    def __post_init__(self) -> None:
        for name, least in (("devices", 1), ("workers", 0), ("log_every", 1), ("save_every", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(self, name)}.")


class Session:
    """A run in its folder `runs/<recipe>/<seed>/`."""

    def __init__(self, name: str, recipe: Recipe, runtime: Runtime) -> None:
        self.name, self.recipe, self.runtime = name, recipe, runtime
        self.folder = runtime.runs / name / str(runtime.seed)
        self.checkpoint = self.folder / "checkpoints" / "last.pt"

    def open_data(self) -> tuple[DomainData, DomainData, DomainData]:
        """Source train, target train and target val images. Raises `UserError` for whatever is missing."""
        recipe, root = self.recipe, self.runtime.data_root
        data = (
            recipe.source.build("train", root),
            recipe.target.build("train", root),
            recipe.target.build("val", root),
        )
        if recipe.method.reads.source and not data[0].has_labels:
            raise UserError(f"The source {data[0].name} has no labels to train on.")
        if recipe.method.reads.target_labels and not data[1].has_labels:
            raise UserError(f"The method trains on target labels, but {data[1].name} train has none.")
        if not data[2].has_labels:
            raise UserError(f"The target {data[2].name} val has no labels to score against.")
        return data

    def build(self) -> tuple[Trainer, DomainData]:
        """Data, network and terms, ready to train; and the validation images."""
        from lightning.fabric import Fabric  # slow to import, and of no use to --list or --help

        source, target, val = self.open_data()
        runtime = self.runtime
        fabric = Fabric(devices=runtime.devices, precision=runtime.precision)
        fabric.launch()
        trainer = Trainer(self.recipe, fabric, source, target, runtime.seed, runtime.workers, runtime.compile)
        return trainer, val

    def prepare_folder(self) -> bool:
        """Make the run's folder, or refuse it; whether the run goes on from its checkpoint.

        Raises `UserError`: nothing is deleted unless asked.
        """
        settings, runtime = self.folder / "recipe.json", self.runtime
        if runtime.overwrite and self.folder.exists():
            shutil.rmtree(self.folder)
        finished = (self.folder / "result.json").exists()
        resumes = self.checkpoint.exists() and (runtime.resume or not finished)
        if runtime.resume and not resumes:
            raise UserError(f"--resume: there is no checkpoint {self.checkpoint}. Start the run without --resume.")
        if finished and not resumes:
            raise UserError(
                f"The folder {self.folder} already holds a finished run. Pass --resume to complete it, --overwrite to "
                "delete it and start anew, or another --runs or --seed."
            )
        if resumes:
            check_same(settings, self.recipe)
        write_json(settings, self.recipe.to_json())
        return resumes

    def run(self) -> dict[str, Any]:
        """Train, score and write `result.json`, which is also returned.

        A run that was stopped goes on from its checkpoint. Raises `Stopped` after a signal.
        """
        trainer, val = self.build()
        main = trainer.fabric.global_rank == 0
        with StopRequest() as stop, locked(self.folder) if main else nullcontext():
            return self._run(trainer, val, main, stop)

    def _run(self, trainer: Trainer, val: DomainData, main: bool, stop: StopRequest) -> dict[str, Any]:
        fabric = trainer.fabric
        resumes = fabric.broadcast(self.prepare_folder() if main else False)
        tracker = make_tracker(self.runtime.tracking, self.runtime.runs) if main else NoTracker()
        tracker.start("da_toolkit", f"{self.name}/{self.runtime.seed}", self._parameters(), {"recipe": self.name})
        log = _Log(self, trainer, val, tracker, main, stop)
        status = "FAILED"
        try:
            if resumes:
                state = load_checkpoint(self.checkpoint, fabric.device)
                trainer.load_state(state)
                log.load_state(state["log"])
                log.progress.note(f"resumed after step {trainer.done}")
            elif main:
                log.file.cut(0)  # of an attempt that ended before its first checkpoint
            trainer.fit(log.report, self.runtime.log_every, log.after_step, log.progress.stage, log.frozen)
            result = log.result()
            if main:
                self._keep(result, trainer, tracker)
            status = "FINISHED"
            return result
        except (KeyboardInterrupt, Stopped):
            status = "KILLED"
            raise
        finally:
            log.progress.close()
            tracker.finish(status)

    def _parameters(self) -> dict[str, Any]:
        return {
            **dict(flatten(self.recipe.to_json())),
            "seed": self.runtime.seed,
            "precision": self.runtime.precision,
        }

    def _keep(self, result: dict[str, Any], trainer: Trainer, tracker: Tracker) -> None:
        weights = {name: tensor.contiguous() for name, tensor in trainer.model.state_dict().items()}
        save_file(weights, self.folder / "model.safetensors")
        write_json(self.folder / "result.json", result)
        for name in ("model.safetensors", "result.json", "recipe.json"):
            tracker.artifact(self.folder / name)
        for picture in sorted((self.folder / "pictures").glob("*.png")):
            tracker.picture(picture)


class _Log:
    """Evaluations, checkpoints and reports while a session trains."""

    def __init__(
        self, session: Session, trainer: Trainer, val: DomainData, tracker: Tracker, main: bool, stop: StopRequest
    ) -> None:
        self.session, self.trainer, self.val, self.tracker, self.main = session, trainer, val, tracker, main
        self.stop = stop
        self.file = MetricsFile(session.folder / "metrics.jsonl")
        self.progress: TrainingProgress = make_progress(session.recipe.schedule.steps) if main else TrainingProgress()
        self.started = time.perf_counter()
        self.last: dict[str, Any] = {}
        self.best: dict[str, Any] | None = None
        self.evaluations: list[dict[str, Any]] = []
        self.validators = make_validators(session, trainer)

    def state(self) -> dict[str, Any]:
        """What a resumed run's log goes on from."""
        return {
            "seconds": self.seconds(),
            "last": self.last,
            "best": self.best,
            "evaluations": self.evaluations,
            "validators": self.validators.state_dict() if self.validators else None,
            "metrics_bytes": self.file.size(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`; what was written after it is cut off, for those steps come again."""
        self.started = time.perf_counter() - state["seconds"]
        self.last, self.best, self.evaluations = state["last"], state["best"], state["evaluations"]
        if self.validators:
            self.validators.load_state_dict(state["validators"])
        if self.main:
            self.file.cut(state["metrics_bytes"])

    def seconds(self) -> float:
        """Run time, without what passed between a stop and its resumption."""
        return time.perf_counter() - self.started

    def report(self, step: int, losses: dict[str, float], rate: float) -> None:
        if self.main:
            self._write({**losses, "images_per_second": rate}, step)
            self.progress.report(step, losses, rate)

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
            if self.main:
                save_checkpoint(self.session.checkpoint, {**self.trainer.state(), "log": self.state()})
            self.trainer.fabric.barrier()
        if stops and step < total:
            raise Stopped(
                f"Stopped by {self.stop.name or 'a signal'} after step {step} of {total}; the checkpoint "
                f"{self.session.checkpoint} is written. The same command goes on from there."
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
        if self.main:
            mious = {f"miou_{name}": value.miou for name, value in scores.items()}
            self._write(mious | {f"validator_{name}": value for name, value in found.items()}, step)
            self.keep_confusions(confusions)
            per_class = scores[main_protocol].per_class
            self.tracker.table("per_class", {"class": list(per_class), "iou": list(per_class.values())})
            self.picture(step)
            self.progress.score(miou)

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
            "seconds": self.seconds(),
            "peak_memory_mb": peak_memory_mb(device),
            "precision": session.runtime.precision,
            "reported": recipe.to_json()["reported"],
            **environment(device),
        }


def make_validators(session: Session, trainer: Trainer) -> Validators | None:
    """The label-free scores that the recipe asks for."""
    recipe = session.recipe
    if not recipe.evaluation.validators:
        return None
    sizes = recipe.source.size, recipe.evaluation_size
    made = Validators(
        trainer.model, trainer.source, trainer.target, sizes, recipe.evaluation.validators, session.runtime.seed
    )
    return made.to(trainer.fabric.device)


def check_same(file: Path, recipe: Recipe) -> None:
    """Raises `UserError` with the first differences if `recipe` is not the one kept in `file`."""
    kept, now = (dict(flatten(tree)) for tree in (json.loads(file.read_text()), recipe.to_json()))
    missing = "(none)"
    changed = [
        f"{name}: {kept.get(name, missing)} -> {now.get(name, missing)}"
        for name in {**kept, **now}
        if kept.get(name, missing) != now.get(name, missing)
    ]
    if changed:
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise UserError(
            f"The recipe is not the one that {file.parent} was begun with: {'; '.join(changed[:5])}{more}. Resume with "
            "the old settings, or start anew in another --runs folder, or with --overwrite."
        )


@torch.inference_mode()
def predict_images(
    model: Segmenter, images: list[np.ndarray], recipe: Recipe, device: torch.device
) -> list[np.ndarray]:
    """Train ids uint8 [H,W] of RGB images at their own resolution, as the recipe evaluates them."""
    size = recipe.evaluation_size
    decided = []
    with evaluating(model):
        for image in images:
            batch = to_input(np.stack([resized(image, size)]), device)
            classes = predict(model, batch, recipe.evaluation, image.shape[:2])
            decided.append(classes[0].byte().cpu().numpy())
    return decided
