"""What a run scores while it trains: evaluations with their label-free scores, the best weights, pictures."""

import math
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from da_toolkit.data.domain import DomainData
from da_toolkit.data.figures import prediction_grid, save_png, save_predictions
from da_toolkit.evaluation.evaluate import evaluate
from da_toolkit.evaluation.predict import predict_images
from da_toolkit.evaluation.protocols import Scores, protocols_for, score
from da_toolkit.evaluation.validators import Validators
from da_toolkit.runs.checkpoint import save_weights
from da_toolkit.training.state import random_state, set_random_state
from da_toolkit.training.trainer import Trainer
from da_toolkit.waiting import Abandoned, abandonable

PICTURES = 4
Shown = tuple[list[np.ndarray], dict[str, list[np.ndarray]]]
"""Images, and of each column of a picture what stands beside them."""
Choice = Literal["none", "entropy", "soft_neighbourhood_density", "teacher_agreement", "source_score", "target_labels"]


class Scoring:
    """Evaluations of the network in training.

    Args:
        folder: the run's; only the main rank writes into it.
        best: the score whose highest value decides which weights to keep as `best.safetensors`.
    """

    def __init__(self, trainer: Trainer, val: DomainData, folder: Path, best: Choice, main: bool) -> None:
        self.trainer, self.val, self.folder, self.by, self.main = trainer, val, folder, best, main
        self.protocols = protocols_for(val.label_space)
        self.validators = _make_validators(trainer)
        self.evaluations: list[dict[str, Any]] = []
        self.kept_best: dict[str, Any] | None = None
        self.confusion: list[list[int]] = []
        """Pixels of the last evaluation: rows = label, columns = prediction."""

    def state(self) -> dict[str, Any]:
        """What a resumed run goes on from."""
        return {
            "evaluations": self.evaluations,
            "kept_best": self.kept_best,
            "confusion": self.confusion,
            "validators": self.validators.state_dict() if self.validators else None,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.evaluations, self.kept_best = state["evaluations"], state["kept_best"]
        self.confusion = state["confusion"]
        if self.validators:
            self.validators.load_state_dict(state["validators"])

    def follow(self) -> None:
        """Let the averaged network of the validators follow a step."""
        if self.validators:
            self.validators.follow(self.trainer.model)

    def look(self, step: int) -> tuple[dict[str, Scores], dict[str, float]]:
        """Score on the way, by protocol and without labels; changes nothing of what is trained. May be abandoned."""
        buffers = self._buffers()
        found = self.evaluate(step)
        self._put_back(buffers)
        return found

    def evaluate(self, step: int) -> tuple[dict[str, Scores], dict[str, float]]:
        """Score by protocol and without labels; the terms may bring the network into its final state for it.

        May be abandoned; then all is as before.
        """
        buffers, random = self._buffers(), random_state(self.trainer.fabric.device)
        try:
            with abandonable():
                confusions, found, shown = self._look()
        except Abandoned:
            self._put_back(buffers)
            set_random_state(random, self.trainer.fabric.device)
            raise
        summed = confusions.sum(0)
        self.confusion = summed.tolist()
        scores = {p.name: score(summed, p) for p in self.protocols}
        as_json = {name: value.to_json() for name, value in scores.items()}
        self.evaluations.append({"step": step, "scores": as_json, "validators": found})
        self.keep_best(step, found | {"target_labels": scores[self.protocols[0].name].miou})
        if self.main:
            self._keep_confusions(confusions)
            self._picture(step, *shown)
        return scores, found

    @torch.compiler.set_stance("force_eager")  # images of other sizes would ask for programs of their own
    def _look(self) -> tuple[torch.Tensor, dict[str, float], Shown]:
        """Confusion matrices [N,C,C], label-free scores, and, on the main rank, the first images and decisions."""
        trainer, recipe = self.trainer, self.trainer.recipe
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
            lambda counts: cast(torch.Tensor, fabric.all_reduce(counts, reduce_op="sum")),
        )
        found = self.validators.scores(trainer.model, fabric.device, trainer.autocast) if self.validators else {}
        if not self.main:
            return confusions, found, ([], {})
        first = range(min(PICTURES, len(self.val)))
        images = [self.val.image(index) for index in first]
        decided = predict_images(trainer.model, images, recipe.evaluation, recipe.target.size, fabric.device)
        return confusions, found, (images, {"prediction": decided, "label": [self.val.label(index) for index in first]})

    def _buffers(self) -> list[torch.Tensor]:
        return [buffer.clone() for buffer in self.trainer.model.buffers()]

    def _put_back(self, kept: list[torch.Tensor]) -> None:
        for buffer, before in zip(self.trainer.model.buffers(), kept, strict=True):
            buffer.copy_(before)

    def result(self) -> dict[str, Any]:
        """The last scores and confusion matrix, all scores, and which would have been chosen."""
        main = self.protocols[0].name
        scored = [entry for entry in self.evaluations if entry["scores"][main]["miou"] is not None]
        best = max(scored, key=lambda entry: entry["scores"][main]["miou"], default=None)
        return {
            "scores": self.evaluations[-1]["scores"],
            "oracle_choice_on_target_labels": {"step": best["step"], **best["scores"]} if best else None,
            "evaluations": self.evaluations,
            "kept_best": self.kept_best,
            "confusion": {"classes": list(self.val.label_space.classes), "matrix": self.confusion},
        }

    def keep_best(self, step: int, found: dict[str, float]) -> None:
        """Keep the weights if they are the best so far by the run's choice; the first of equals."""
        value = found.get(self.by, math.nan)
        if math.isnan(value) or (self.kept_best is not None and value <= self.kept_best["value"]):
            return
        self.kept_best = {"by": self.by, "step": step, "value": value}
        if self.main:
            save_weights(self.folder / "best.safetensors", self.trainer.model)

    def _picture(self, step: int, images: list[np.ndarray], columns: dict[str, list[np.ndarray]]) -> None:
        """Predictions on the first validation images beside their labels."""
        space = self.val.label_space
        grid = prediction_grid(images, columns, space)
        save_png(self.folder / "pictures" / f"step_{step:06d}.png", grid)
        save_predictions(self.folder / "predictions", images, columns, space)

    def _keep_confusions(self, confusions: torch.Tensor) -> None:
        """Pixel counts of every validation image, from which `compare` draws its intervals."""
        keys = [self.val.key(index) for index in range(len(confusions))]
        self.folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(self.folder / "confusions.npz", counts=confusions.cpu().numpy(), keys=keys)


def _make_validators(trainer: Trainer) -> Validators | None:
    """The label-free scores that the recipe asks for."""
    recipe = trainer.recipe
    if not recipe.evaluation.validators:
        return None
    sizes = recipe.source.size, recipe.evaluation_size
    images = recipe.evaluation.validators
    return Validators(trainer.model, trainer.images.source, trainer.images.target, sizes, images, trainer.seed).to(
        trainer.fabric.device
    )
