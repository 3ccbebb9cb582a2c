"""One run from recipe to `result.json`: builds everything, trains, scores, and writes what it came to."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from da_toolkit.data.domain import DomainData
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.identity import Identity, identity_of
from da_toolkit.data.labelled import require_labelled
from da_toolkit.data.loader import explained
from da_toolkit.errors import Stopped, UserError
from da_toolkit.files import write_json
from da_toolkit.models.trial import check_passes
from da_toolkit.ranks.launch import LostRank, launch, lost_ranks_explained
from da_toolkit.ranks.parallel import from_main, is_main
from da_toolkit.recipe.as_json import flatten
from da_toolkit.recipe.passes import run_passes
from da_toolkit.runs.checkpoint import save_weights
from da_toolkit.runs.claim import check_resumes, claim, finished_result
from da_toolkit.runs.lock import locked
from da_toolkit.runs.log import RunLog
from da_toolkit.runs.memory import out_of_memory
from da_toolkit.runs.plan import RunPlan
from da_toolkit.runs.same_data import settle_data, tell_of_other_data
from da_toolkit.runs.signals import StopRequest
from da_toolkit.runs.start import check_start, check_trained
from da_toolkit.runs.starts import keep_start
from da_toolkit.tracking.tracker import NoTracker, Tracker, make_tracker
from da_toolkit.training.state import load_state, remembers
from da_toolkit.training.trainer import Trainer
from da_toolkit.waiting import Abandoned

_WRITES = 5.0  # seconds that rank 0 is given for its checkpoint; srun and torchrun kill it once another rank has ended


@dataclass(eq=False)
class Session(RunPlan):
    """A run in its folder `runs/<recipe>/<seed>/`."""

    repeats: Path | None = None
    """The folder of a run that this one repeats; it is told if its images were others."""

    def open_data(self) -> tuple[DomainData | None, DomainData, DomainData]:
        """Source train, none for a source-free method, target train and target val images.

        Raises `UserError` for whatever is missing.
        """
        recipe, root = self.recipe, self.runtime.data_root
        data = (
            recipe.source.build("train", root) if recipe.method.opens_source else None,
            recipe.target.build("train", root),
            recipe.target.build("val", root),
        )
        reads = recipe.method.reads
        if data[0] is not None and reads.source and not data[0].has_labels:
            raise _without_labels("source", data[0], "to train on")
        if reads.target_labels and not data[1].has_labels:
            raise _without_labels("target", data[1], "to train on, which this method does")
        if not data[2].has_labels:
            raise _without_labels("target", data[2], "to score against")
        if data[0] is not None and reads.source:
            require_labelled(data[0], "to train on")
        if reads.target_labels:
            require_labelled(data[1], "to train on")
        require_labelled(data[2], "to score against", recipe.evaluation.images)
        return data

    def build(self) -> tuple[Trainer, DomainData]:
        """Data, network and terms, ready to train; and the validation images."""
        runtime = self.runtime
        check_start(self.recipe, runtime.best)
        source, target, val = self.open_data()
        fabric = launch(runtime.devices, runtime.precision)
        how = runtime.seed, runtime.workers, runtime.compile, runtime.skip_bad_steps, runtime.bad_files
        trainer = Trainer(self.recipe, fabric, source, target, *how, runtime.recompute, runtime.frame_cache)
        check_trained(self.recipe, trainer.untrained)
        check_passes(trainer.model, run_passes(self.recipe))
        return trainer, val

    def run(self) -> dict[str, Any]:
        """Train, score and write `result.json`, which is also returned.

        A run that was stopped goes on from its checkpoint, also with another number of ranks. All ranks return the
        result. Raises `Stopped` after a signal, and `LostRank` when another rank has ended.
        """
        check_resumes(self.folder, self.checkpoints, self.runtime)
        if finished := finished_result(self.folder, self.recipe, self.runtime):
            return finished
        stop = StopRequest()
        try:
            with lost_ranks_explained():
                trainer, val = self.build()
                with stop, ExitStack() as held:
                    stop.ranks = trainer.fabric.world_size
                    from_main(lambda: held.enter_context(locked(self.folder)))
                    return self._run(trainer, val, is_main(), stop)
        except LostRank:
            if not stop.name:
                raise
            raise Stopped(
                f"Stopped by {stop.name} while the other ranks stopped. The same command goes on from the last "
                "checkpoint, if there is one."
            ) from None

    def _run(self, trainer: Trainer, val: DomainData, main: bool, stop: StopRequest) -> dict[str, Any]:
        fabric = trainer.fabric
        resumes = from_main(lambda: claim(self.folder, self.checkpoints, self.recipe, self.runtime))
        state = self.checkpoints.load(fabric.device) if resumes else None
        if state is not None:
            load_state(trainer, state)
        data = from_main(lambda: self._settle_data(trainer, val, state))
        tracker = make_tracker(self.runtime.tracking, self.folder, resumes) if main else NoTracker()
        tracker.start("da_toolkit", f"{self.name}/{self.runtime.seed}", self._parameters(), {"recipe": self.name})
        log = RunLog(self, trainer, val, tracker, main, stop, data)
        status = "FAILED"
        try:
            if state is not None:
                log.load_state(state["log"])
                log.progress.note(f"resumed after step {trainer.done}")
                log.make_up()
            elif main:
                log.file.cut(0)  # of an attempt that ended before its first checkpoint
            if main:
                keep_start(self.folder, trainer.done, self.runtime, fabric.device, data)
            if main and (use := trainer.images.cache_use()) is not None:
                log.progress.note(use)
            trainer.fit(
                log.report, self.runtime.log_every, log.after_step, log.progress.stage, log.frozen, log.bad_step
            )
            result = log.result()
            if main:
                self._keep(result, trainer, tracker)
            status = "FINISHED"
            return result
        except Abandoned:
            status = "KILLED"
            if not main:
                time.sleep(_WRITES)
            raise log.abandoned() from None
        except Stopped:
            status = "KILLED"
            from_main(lambda: None)  # wait: srun and torchrun kill rank 0 once another rank ends with code 75
            raise
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        except (RuntimeError, MemoryError) as error:
            raise explained(error) or out_of_memory(error, self, trainer) or error from error
        finally:
            log.progress.close()
            tracker.finish(status)

    def _settle_data(self, trainer: Trainer, val: DomainData, state: dict[str, Any] | None) -> str:
        """The digest of the images. Raises `UserError` if they must not be others."""
        now = self.identity(trainer, val)
        if self.repeats is not None:
            tell_of_other_data(self.repeats, now)
        return settle_data(self.folder, now, state, remembers(trainer), self.runtime.accept_changed_data)

    def identity(self, trainer: Trainer, val: DomainData) -> Identity:
        """What the run's images are now, and of their labels those that are read."""
        reads, images = self.recipe.method.reads, trainer.images
        source = {"source": (images.source, reads.source)} if images.source is not None else {}
        return identity_of({**source, "target": (images.target, reads.target_labels), "val": (val, True)})

    def _parameters(self) -> dict[str, Any]:
        return {
            **dict(flatten(self.recipe.to_json())),
            "seed": self.runtime.seed,
            "precision": self.runtime.precision,
        }

    def _keep(self, result: dict[str, Any], trainer: Trainer, tracker: Tracker) -> None:
        save_weights(self.folder / "model.safetensors", trainer.model)
        tracker.model(self.folder)
        tracker.artifact(self.folder / "recipe.json")
        for picture in sorted((self.folder / "pictures").glob("*.png")):
            tracker.picture(picture)
        write_json(self.folder / "result.json", result)  # last: with it a run is finished
        tracker.artifact(self.folder / "result.json")


def _without_labels(domain: str, data: DomainData, purpose: str) -> UserError:
    image = f"; its first image is {data.pairs[0].image}" if isinstance(data, FileDomainData) else ""
    return UserError(
        f"The {domain} {data.name} {data.split} lacks labels {purpose}{image}. Put its annotations where the README "
        f"shows them, or set another domain. {data.unlabelled}".rstrip()
    )
