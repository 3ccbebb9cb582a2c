"""The stages of a run."""

import dataclasses
from dataclasses import dataclass

from da_toolkit.errors import UserError


@dataclass(frozen=True)
class Stage:
    """A stretch of training between two refreshes of frozen knowledge."""

    name: str
    steps: int
    """Optimiser steps of this stage."""
    round: int = 0
    """0 = warm-up (no frozen knowledge yet), then 1, 2, ... for alternating refresh-and-train rounds."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"schedule: stage {self.name!r} needs at least 1 step, got {self.steps}.")


def rounds(count: int, steps: int) -> tuple[Stage, ...]:
    """`count` alternating rounds of `steps` each, named "round 1", "round 2", ..."""
    return tuple(Stage(f"round {number}", steps, number) for number in range(1, count + 1))


@dataclass(frozen=True)
class Schedule:
    """The stages of a run, one after the other."""

    stages: tuple[Stage, ...] = (Stage("train", 1000),)

    def __post_init__(self) -> None:
        if not isinstance(self.stages, tuple) or not self.stages:
            raise UserError("schedule.stages needs at least one stage, in a tuple.")

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return sum(stage.steps for stage in self.stages)

    def stage_after(self, steps: int) -> Stage:
        """The stage that the last of `steps` optimiser steps belongs to; the first after none."""
        end = 0
        for stage in self.stages:
            end += stage.steps
            if steps <= end:
                break
        return stage

    def scaled(self, steps: int) -> "Schedule":
        """The same stages in the same proportion, `steps` together, but at least one each; the longest takes what
        rounding leaves. Raises `UserError` below 1 step."""
        if steps < 1:
            raise UserError(f"A run needs at least 1 step, got {steps}.")
        scaled = [max(1, round(stage.steps * steps / self.steps)) for stage in self.stages]
        longest = scaled.index(max(scaled))
        scaled[longest] = max(1, scaled[longest] + steps - sum(scaled))
        return Schedule(tuple(dataclasses.replace(s, steps=n) for s, n in zip(self.stages, scaled, strict=True)))
