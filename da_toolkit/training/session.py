"""One run from recipe to `result.json`: builds everything, trains, scores, and keeps the run's folder."""

import dataclasses
import json
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from da_toolkit.data.domain import DomainData
from da_toolkit.data.loader import explained
from da_toolkit.errors import UserError
from da_toolkit.recipe import Recipe, flatten
from da_toolkit.training.address import check_address
from da_toolkit.training.checkpoint import Checkpoints, save_weights
from da_toolkit.training.files import write_json
from da_toolkit.training.launch import launch, lost_ranks_explained, restarted
from da_toolkit.training.lock import locked
from da_toolkit.training.parallel import from_main, is_main
from da_toolkit.training.provenance import environment
from da_toolkit.training.run_log import RunLog
from da_toolkit.training.scoring import Choice
from da_toolkit.training.shareable import without_password
from da_toolkit.training.signals import Stopped, StopRequest
from da_toolkit.training.tracking import NoTracker, Tracker, make_tracker
from da_toolkit.training.trainer import Trainer


@dataclass(frozen=True)
class Runtime:
    """What may differ between machines without changing what is trained."""

    seed: int = 0
    """Decides initial weights, data order and augmentation."""
    data_root: Path | None = None
    """Folder that holds the data sets, each in its own folder (GTA5, cityscapes, ...)."""
    runs: Path = Path("runs")
    """Folder of all runs; this one is kept in RUNS/RECIPE/SEED."""
    devices: int | None = None
    """Processes on this machine, one a GPU (or CPU process). By default what torchrun or SLURM started, else 1."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic of the networks."""
    tracking: str = "mlflow"
    """"mlflow" (SQLite in the runs folder), "none", or the URI of an MLflow server, which may be down."""
    workers: int = 2
    """Loader processes for each domain; 0 loads in the training process."""
    log_every: int = 10
    """Steps between reports."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints that are kept: the last ones."""
    best: Choice = "entropy"
    """By which score of its evaluations a run keeps its best weights in `best.safetensors`: a validator, which needs no
    target labels; "target_labels", an oracle's choice; or "none"."""
    bad_files: float = 0.01
    """Share 0..1 of a domain's training images that may turn out unreadable before the run stops; others stand in."""
    skip_bad_steps: int = 0
    """Steps with NaN or infinite losses or gradients that are left out before one stops the run."""
    compile: bool = False
    """Pass the network through torch.compile."""
    resume: bool = False
    """Insist on continuing from the run folder's checkpoint, which an unfinished run of the same recipe does anyway.
    A finished one stays as it is."""
    overwrite: bool = False
    """Start anew in a folder that holds a run, deleting it."""

    def __post_init__(self) -> None:
        for name, least in (
            ("seed", 0),
            ("devices", 1),
            ("workers", 0),
            ("log_every", 1),
            ("save_every", 1),
            ("keep", 1),
            ("skip_bad_steps", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')} must be at least {least}, got {value}.")
        if self.resume and self.overwrite:
            raise UserError("--resume continues the run that --overwrite would delete: pass one of them.")
        check_address(self.tracking)
        if not 0 <= self.bad_files <= 1:
            raise UserError(f"--bad-files is a share, 0..1, got {self.bad_files}.")

    def to_json(self) -> dict[str, Any]:
        """As plain values, without a server's password."""
        values = dataclasses.asdict(self) | {"tracking": without_password(self.tracking)}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Runtime":
        """What `to_json` wrote. Raises `UserError`, TypeError, AttributeError or ValueError for anything else."""
        paths = {name: Path(values[name]) for name in ("data_root", "runs") if values.get(name) is not None}
        return cls(**{**values, **paths})


class Session:
    """A run in its folder `runs/<recipe>/<seed>/`."""

    def __init__(self, name: str, recipe: Recipe, runtime: Runtime) -> None:
        self.name, self.recipe, self.runtime = name, recipe, runtime
        self.folder = runtime.runs / name / str(runtime.seed)
        self.checkpoints = Checkpoints(self.folder / "checkpoints", runtime.keep)

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
        source, target, val = self.open_data()
        runtime = self.runtime
        fabric = launch(runtime.devices, runtime.precision)
        how = runtime.seed, runtime.workers, runtime.compile, runtime.skip_bad_steps, runtime.bad_files
        trainer = Trainer(self.recipe, fabric, source, target, *how)
        return trainer, val

    def prepare_folder(self) -> bool:
        """Make the run's folder, or refuse it; whether the run goes on from its checkpoint.

        Raises `UserError`: nothing is deleted unless asked.
        """
        settings, runtime = self.folder / "recipe.json", self.runtime
        if runtime.overwrite and self.folder.exists() and not restarted():
            shutil.rmtree(self.folder)
        finished = (self.folder / "result.json").exists()
        resumes = bool(self.checkpoints.files()) and not finished
        if finished:
            changed = differences(settings, self.recipe)
            what = f"finished run of other settings ({changed})" if changed else "finished run"
            raise UserError(
                f"The folder {self.folder} already holds a {what}. Pass --overwrite to delete it and start anew, or "
                "another --runs or --seed."
            )
        if resumes and (changed := differences(settings, self.recipe)):
            raise UserError(
                f"The recipe is not the one that {self.folder} was begun with: {changed}. Resume with the old "
                "settings, or start anew in another --runs folder, or with --overwrite."
            )
        write_json(settings, self.recipe.to_json())
        return resumes

    def finished_result(self) -> dict[str, Any] | None:
        """What a finished run of the same settings came to, where --resume finds one: nothing is left to train.

        Raises `UserError` where --resume finds no run at all.
        """
        file = self.folder / "result.json"
        if self.runtime.resume and not file.exists() and not self.checkpoints.files():
            raise UserError(
                f"--resume: there is no checkpoint in {self.checkpoints.folder}. Start the run without --resume."
            )
        if not self.runtime.resume or not file.exists() or differences(self.folder / "recipe.json", self.recipe):
            return None
        result = _kept(file)
        if not isinstance(result, dict) or "scores" not in result:
            raise UserError(f"{file} is damaged (it holds no scores). Start anew with --overwrite.")
        print(f"{self.folder} is finished already; its result stands.")
        return result

    def run(self) -> dict[str, Any]:
        """Train, score and write `result.json`, which is also returned.

        A run that was stopped goes on from its checkpoint, also with another number of ranks. All ranks return the
        result. Raises `Stopped` after a signal, and `LostRank` when another rank has ended.
        """
        if finished := self.finished_result():
            return finished
        with lost_ranks_explained():
            trainer, val = self.build()
            with StopRequest() as stop, ExitStack() as held:
                from_main(lambda: held.enter_context(locked(self.folder)))
                try:
                    return self._run(trainer, val, is_main(), stop)
                except Stopped:
                    from_main(lambda: None)  # wait: srun and torchrun kill rank 0 once another rank ends with code 75
                    raise

    def _run(self, trainer: Trainer, val: DomainData, main: bool, stop: StopRequest) -> dict[str, Any]:
        fabric = trainer.fabric
        resumes = from_main(self.prepare_folder)
        tracker = make_tracker(self.runtime.tracking, self.folder, resumes) if main else NoTracker()
        tracker.start("da_toolkit", f"{self.name}/{self.runtime.seed}", self._parameters(), {"recipe": self.name})
        log = RunLog(self, trainer, val, tracker, main, stop)
        status = "FAILED"
        try:
            if resumes:
                state = self.checkpoints.load(fabric.device)
                trainer.load_state(state)
                log.load_state(state["log"])
                log.progress.note(f"resumed after step {trainer.done}")
            elif main:
                log.file.cut(0)  # of an attempt that ended before its first checkpoint
            if main:
                self.keep_environment(trainer.done, fabric.device)
            trainer.fit(
                log.report, self.runtime.log_every, log.after_step, log.progress.stage, log.frozen, log.bad_step
            )
            result = log.result()
            if main:
                self._keep(result, trainer, tracker)
            status = "FINISHED"
            return result
        except (KeyboardInterrupt, Stopped):
            status = "KILLED"
            raise
        except RuntimeError as error:
            raise explained(error) or error from error
        finally:
            log.progress.close()
            tracker.finish(status)

    def keep_environment(self, step: int, device: torch.device) -> None:
        """Add this start, after `step` steps, to `environment.json`: settings of the run, versions, machine, commit."""
        file = self.folder / "environment.json"
        try:
            starts = json.loads(file.read_text()) if step and file.exists() else []
        except ValueError:  # damaged: what came before is unknown
            starts = []
        start = {"step": step, "time": round(time.time()), "runtime": self.runtime.to_json(), **environment(device)}
        write_json(file, [*starts, start])

    def _parameters(self) -> dict[str, Any]:
        return {
            **dict(flatten(self.recipe.to_json())),
            "seed": self.runtime.seed,
            "precision": self.runtime.precision,
        }

    def _keep(self, result: dict[str, Any], trainer: Trainer, tracker: Tracker) -> None:
        save_weights(self.folder / "model.safetensors", trainer.model)
        for name in ("model.safetensors", "recipe.json"):
            tracker.artifact(self.folder / name)
        for picture in sorted((self.folder / "pictures").glob("*.png")):
            tracker.picture(picture)
        write_json(self.folder / "result.json", result)  # last: with it a run is finished
        tracker.artifact(self.folder / "result.json")


def differences(file: Path, recipe: Recipe) -> str:
    """The first settings of `recipe` that are not those in `file`; raises `UserError` if that is damaged."""
    kept, now = (dict(flatten(tree)) for tree in (_kept(file), recipe.to_json()))
    missing = "(none)"
    changed = [
        f"{name}: {kept.get(name, missing)} -> {now.get(name, missing)}"
        for name in {**kept, **now}
        if kept.get(name, missing) != now.get(name, missing)
    ]
    more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
    return "; ".join(changed[:5]) + more


def _kept(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}). Start anew with --overwrite.") from error
