"""Signs that a run is collapsing: told once, when they have lasted."""

from collections.abc import Iterable

from da_toolkit.terms.term import Term

MAJORITY = 95.0
LASTING = 0.05
LEAST = 50
"""Steps: before them every discriminator is at chance and every network undecided."""
_MAJORITY_REMEDY = (
    "Adaptation has collapsed onto it: lower the weights of the target's losses, start them later or warm up longer, "
    "or raise a threshold of pseudo-labels."
)


class Health:
    """Watches reports of a run.

    Args:
        total: optimiser steps of the run; a sign must last for 5 % of them, 50 steps and three reports.
    """

    def __init__(self, total: int) -> None:
        self.least = max(LEAST, round(LASTING * total))
        self.since: dict[str, tuple[int, int]] = {}
        self.told: list[str] = []

    def see(self, step: int, losses: dict[str, float], decisions: dict[str, float], terms: Iterable[Term]) -> list[str]:
        """Warnings that are due after `step` steps.

        Args:
            losses: means since the last report.
            decisions: percent of target pixels by class since then, if known.
        """
        signs = dict(sign for term in terms for sign in term.symptoms(losses).items())
        if decisions:
            top = max(decisions, key=lambda name: decisions[name])
            if decisions[top] > MAJORITY:
                signs[f"over {MAJORITY:.0f} % of target pixels are decided as {top!r}"] = _MAJORITY_REMEDY
        self.since = {sign: self._longer(sign, step) for sign in signs}
        due = []
        for sign, (first, reports) in self.since.items():
            if step - first >= self.least and reports >= 3 and sign not in self.told:
                self.told.append(sign)
                due.append(f"warning: since step {first}, {sign}. {signs[sign]}")
        return due

    def _longer(self, sign: str, step: int) -> tuple[int, int]:
        first, reports = self.since.get(sign, (step, 0))
        return first, reports + 1

    def state(self) -> dict[str, object]:
        return {"since": self.since, "told": self.told}

    def load_state(self, state: dict) -> None:
        self.since, self.told = dict(state["since"]), list(state["told"])
