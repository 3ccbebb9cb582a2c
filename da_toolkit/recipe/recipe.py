"""A recipe: one frozen object that says everything a run does. What you read is what runs."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from da_toolkit.data.domain import Domain
from da_toolkit.data.meeting import meet
from da_toolkit.data.rare_classes import RareClasses
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import UserError
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.models.settings import ModelSettings
from da_toolkit.recipe.as_json import plain, rebuilt
from da_toolkit.settings.optim import SGD, LearningRate, Optimizer
from da_toolkit.settings.schedule import Schedule
from da_toolkit.settings.values import check_values
from da_toolkit.terms.term import Method


@dataclass(frozen=True)
class Reported:
    """A published score. It stands in a column of its own and is never mixed with measured ones."""

    miou: float
    """Percent."""
    paper: str
    note: str = ""
    protocol: str = "cityscapes19"
    network: str = ""
    """That the score is of, which need not be the recipe's."""
    start: str = ""
    """The weights that its training started from."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run's result, except the seed and the machine."""

    source: Domain
    target: Domain
    model: ModelSettings
    method: Method
    schedule: Schedule = field(default_factory=Schedule)
    optimizer: Optimizer = field(default_factory=SGD)
    learning_rate: LearningRate = field(default_factory=LearningRate)
    batch_size: int = 1
    """Images of each domain per step and process."""
    accumulate: int = 1
    """Batches whose gradients are summed into one optimiser step."""
    source_augmentation: Augmentation = field(default_factory=Augmentation)
    target_augmentation: Augmentation = field(default_factory=Augmentation)
    rare_classes: RareClasses | None = None
    """Draw source images by the classes they have; by default all come equally often."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    reported: Reported | None = None

    def __post_init__(self) -> None:
        kinds = {"source": Domain, "target": Domain, "model": ModelSettings, "method": Method}
        for name, kind in kinds.items():
            if not isinstance(value := getattr(self, name), kind):
                raise UserError(
                    f"{name} must be the settings of one, such as {_EXAMPLES[name]}; got {value!r}"
                    + (", the class itself: add brackets." if isinstance(value, type) else ".")
                )
        check_values(self)
        for name in ("batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.method.class_balance < 0:
            raise UserError(f"method.class_balance must be at least 0 (0 = off), got {self.method.class_balance}.")
        for regularizer in self.method.regularizers:
            if regularizer.needs_source and not self.method.reads.source:
                name = type(regularizer).__name__
                method = type(self.method).__name__
                raise UserError(f"{name} works on source images, and {method} reads none: leave it out.")
            regularizer.check(self.schedule.stages, self.method.reads)
        for name, met in zip(("source", "target"), meet(self.source, self.target), strict=True):
            object.__setattr__(self, name, met)
        if self.rare_classes is not None and not self.method.reads.source:
            raise UserError("rare_classes chooses source images, and this method reads none: set it to none.")

    @property
    def evaluation_size(self) -> tuple[int, int]:
        """Height and width at which target images are scored."""
        return self.evaluation.size or self.target.size

    def to_json(self) -> dict[str, Any]:
        """The resolved settings as plain JSON values, each dataclass with its class name."""
        return plain(self)

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "Recipe":
        """The recipe that `to_json` wrote; classes of a recipe file are known once that is loaded.

        Raises `UserError` for anything else. Nothing that the tree names is run.
        """
        try:
            recipe = rebuilt(tree)
        except (KeyError, TypeError, AttributeError, ImportError, ValueError) as error:
            raise UserError(f"These are not the settings of a recipe ({type(error).__name__}: {error}).") from error
        if not isinstance(recipe, cls):
            raise UserError(f"These are not the settings of a recipe but of a {type(recipe).__name__}.")
        return recipe


def classes_of(file: Path) -> tuple[str, ...]:
    """The class names of the recipe in a `recipe.json`. Raises `UserError`, OSError or ValueError for anything else."""
    return Recipe.from_json(json.loads(file.read_text(encoding="utf-8"))).source.label_space.classes


_EXAMPLES = {"source": "GTA5()", "target": "Cityscapes()", "model": "DeepLabV2()", "method": "Adversarial()"}
