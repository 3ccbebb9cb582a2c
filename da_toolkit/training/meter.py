"""What reports are made of: mean losses, images per second, and the classes that the target is decided as."""

import time
from typing import Any

import torch
from torch import Tensor

from da_toolkit.terms.step import Step


class Meter:
    """Mean losses and images per second between two reports; losses stay on the device until then."""

    def __init__(self, images_per_step: int) -> None:
        self.images_per_step = images_per_step
        self.restart()

    def restart(self) -> None:
        self.sums: dict[str, tuple[Tensor, int]] = {}
        self.steps, self.seconds = 0, 0.0
        self.mark = time.perf_counter()

    def add(self, losses: dict[str, Tensor]) -> None:
        for name, value in losses.items():
            total, count = self.sums.get(name, (torch.zeros_like(value), 0))
            self.sums[name] = total + value, count + 1
        self.steps += 1
        self.seconds += time.perf_counter() - self.mark
        self.mark = time.perf_counter()

    def pause(self) -> None:
        """Leave out what happened since the last step, such as an evaluation."""
        self.mark = time.perf_counter()

    def read(self) -> tuple[dict[str, float], float]:
        """Empty and 0 if every step since the last report was left out."""
        losses, rate = {}, 0.0
        if self.sums:
            means = torch.stack([total / count for total, count in self.sums.values()]).tolist()
            rate = self.images_per_step * self.steps / self.seconds
            losses = dict(zip(self.sums, means, strict=True))
        self.restart()
        return losses, rate

    def state(self) -> dict[str, Any]:
        return {"sums": self.sums, "steps": self.steps, "seconds": self.seconds}

    def load_state(self, state: dict[str, Any]) -> None:
        self.sums, self.steps, self.seconds = dict(state["sums"]), state["steps"], state["seconds"]
        self.pause()


class Decisions:
    """Counts which classes the network gives the target's pixels, where a term has looked at them anyway."""

    def __init__(self, classes: tuple[str, ...], device: torch.device) -> None:
        self.classes = classes
        self.counts = torch.zeros(len(classes), dtype=torch.int64, device=device)

    def add(self, step: Step) -> None:
        if (logits := step.target_logits) is not None:
            decided = logits.detach().max(1).indices.flatten()
            self.counts.scatter_add_(0, decided, torch.ones_like(decided))

    def read(self) -> dict[str, float]:
        """Percent of target pixels by class since this was last asked; empty where no term looks at the target."""
        counts = self.counts.tolist()
        self.counts.zero_()
        total = sum(counts)
        return {name: 100 * count / total for name, count in zip(self.classes, counts, strict=True)} if total else {}
