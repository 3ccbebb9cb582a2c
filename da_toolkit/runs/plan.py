"""What a run is before it begins: its recipe, its settings, and where its folder lies."""

from dataclasses import dataclass
from pathlib import Path

from da_toolkit.recipe.recipe import Recipe
from da_toolkit.runs.checkpoint import Checkpoints
from da_toolkit.runs.runtime import Runtime


@dataclass(eq=False)
class RunPlan:
    """A recipe under a name, with the settings of one run of it."""

    name: str
    recipe: Recipe
    runtime: Runtime

    @property
    def folder(self) -> Path:
        """RUNS/NAME/SEED."""
        return self.runtime.runs / self.name / str(self.runtime.seed)

    @property
    def checkpoints(self) -> Checkpoints:
        """The folder's."""
        return Checkpoints(self.folder / "checkpoints", self.runtime.keep)
