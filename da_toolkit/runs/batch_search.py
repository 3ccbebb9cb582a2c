"""`run RECIPE --find-batch`: steps of growing batches on the GPU, and the largest that fits."""

import dataclasses
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from da_toolkit.data.domain import DomainData
from da_toolkit.errors import UserError
from da_toolkit.ranks.launch import launch
from da_toolkit.runs.memory import GIB, is_out_of_memory
from da_toolkit.runs.plan import RunPlan
from da_toolkit.training.trainer import Trainer

if TYPE_CHECKING:
    from lightning.fabric import Fabric

MOST = 64
"""The largest batch that is tried."""
_TRIED = (0.0, 1 / 3, 2 / 3, 1.0)
"""Where in every stage steps are tried, as a share of its steps: players may begin and end within it."""


def largest(fits: Callable[[int], bool], most: int = MOST) -> int:
    """The largest number up to `most` that fits, if all smaller ones do; 0 if none."""
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def find_batch_size(plan: RunPlan, data: tuple[DomainData | None, DomainData]) -> Iterator[str]:
    """Lines on the batches that were tried, the largest that fits, and how the recipe's images a step come with it.

    Each is tried by steps from all over every stage, on a few images.

    Args:
        data: the training images of source, none for a source-free method, and target.

    Raises:
        UserError: on a machine without a GPU, or a batch of one image that does not fit.
    """
    fabric = launch(1, plan.runtime.precision)
    if fabric.device.type != "cuda":
        raise UserError(
            "--find-batch fills a GPU's memory until no larger batch fits, and there is no GPU here. On the CPU "
            "time is what limits a batch: choose it by images/s in the reports of a short run."
        )
    whole = torch.cuda.mem_get_info(fabric.device)[1] / GIB
    tried: list[str] = []

    def fits(batch: int) -> bool:
        needed = step_memory(plan, data, batch)
        tried.append(f"batch_size {batch}: " + ("too large" if needed is None else f"{needed / GIB:.1f} GiB"))
        return needed is not None

    best = largest(fits)
    yield from tried
    if not best:
        raise UserError(
            f"Not even one image of each domain fits into {whole:.1f} GiB. Add --recompute blocks and --precision "
            "bf16-mixed, or lower the crops."
        )
    yield f"The largest batch_size that fits into {whole:.1f} GiB is {best}."
    images = plan.recipe.batch_size * plan.recipe.accumulate
    share = max(part for part in range(1, best + 1) if images % part == 0)
    yield f"This recipe's {images} images of each domain a step: --batch-size {share} --accumulate {images // share}"


def step_memory(plan: RunPlan, data: tuple[DomainData | None, DomainData], batch: int) -> int | None:
    """Bytes that steps hold at most on the GPU (0 on the CPU); none if they do not fit.

    Args:
        batch: images of each domain.
    """
    fabric = launch(1, plan.runtime.precision)
    cuda = fabric.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(fabric.device)
    try:
        _steps(plan, fabric, data, batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    finally:
        gc.collect()
        if cuda:
            torch.cuda.empty_cache()
    return torch.cuda.max_memory_reserved(fabric.device) if cuda else 0


def _steps(plan: RunPlan, fabric: "Fabric", data: tuple[DomainData | None, DomainData], batch: int) -> None:
    recipe = dataclasses.replace(plan.recipe, batch_size=batch, accumulate=1)
    source, target = (None if one is None else Few(one, max(2 * batch, 8)) for one in data)
    assert target is not None
    runtime = plan.runtime
    trainer = Trainer(
        recipe, fabric, source, target, runtime.seed, 0, runtime.compile, runtime.skip_bad_steps, 1.0, runtime.recompute
    )
    begin = 0
    for stage in recipe.schedule.stages:
        trainer.done = begin
        trainer.begin(stage)
        for share in _TRIED:  # from the second on, the optimiser's state is in place
            trainer.done = begin + round(share * (stage.steps - 1))
            trainer.step()
        begin += stage.steps


@dataclass(eq=False)
class Few(DomainData):
    """The first images of a domain."""

    data: DomainData
    count: int

    def __post_init__(self) -> None:
        super().__init__(self.data.name, self.data.split, self.data.label_space, self.data.has_labels)

    def __len__(self) -> int:
        return min(self.count, len(self.data))

    def key(self, index: int) -> str:
        return self.data.key(index)

    def image(self, index: int) -> np.ndarray:
        return self.data.image(index)

    def label(self, index: int) -> np.ndarray:
        return self.data.label(index)
