"""Memory that is too small for a run: what to lower, said when it ends, and the largest batch that fits."""

import dataclasses
import gc
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from da_toolkit.data.domain import DomainData
from da_toolkit.errors import UserError
from da_toolkit.ranks.launch import launch
from da_toolkit.recipe.recipe import Recipe
from da_toolkit.runs.plan import RunPlan
from da_toolkit.training.trainer import Trainer

GIB = 2**30
MOST = 64
"""The largest batch that is tried."""
_HOST = ("DefaultCPUAllocator", "not enough memory", "Cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or this machine, had no memory left."""
    host = isinstance(error, RuntimeError) and any(words in str(error) for words in _HOST)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or host


def out_of_memory(error: BaseException, plan: RunPlan, trainer: Trainer) -> UserError | None:
    """What to tell of an error of a run that ends by it; nothing for errors of another kind."""
    if not is_out_of_memory(error):
        return None
    where = "This machine's memory"
    if isinstance(error, torch.OutOfMemoryError) and torch.cuda.is_available():
        held, whole = torch.cuda.max_memory_allocated() / GIB, torch.cuda.mem_get_info()[1] / GIB
        where = f"The GPU's memory ({whole:.1f} GiB, of which this run held {held:.1f} at most)"
    cheap = [
        *(["--recompute"] if not (plan.runtime.recompute or plan.runtime.compile) else []),
        *(["--precision bf16-mixed"] if plan.runtime.precision == "32-true" else []),
    ]
    kept = f"Less is kept with {' and '.join(cheap)}; the run then goes on from its last checkpoint. " if cheap else ""
    if any(frame.f_code is Trainer.step.__code__ for frame, _ in traceback.walk_tb(error.__traceback__)):
        return UserError(
            f"{where} is too small for step {trainer.done + 1}. {kept}{_smaller_steps(plan.recipe)} --find-batch-size "
            "tells the largest batch that fits."
        )
    return UserError(
        f"{where} is too small for a pass over whole images after step {trainer.done}. {kept}A lower "
        f"evaluation.batch_size ({plan.recipe.evaluation.batch_size}) or an evaluation.window, through which images "
        "are scored, make it another recipe, which starts anew."
    )


def _smaller_steps(recipe: Recipe) -> str:
    """What of a recipe makes its steps smaller."""
    batch, sizes = recipe.batch_size, []
    for name, read in (("source", recipe.method.reads.source), ("target", recipe.method.reads.target)):
        crop = getattr(recipe, f"{name}_augmentation").crop
        setting = f"{name}_augmentation.crop" if crop else f"{name}.size"
        height, width = crop or getattr(recipe, name).size
        sizes += [f"{setting} ({height} {width})"] if read else []
    told = f"a lower {' or '.join(sizes)}"
    if batch % 2 == 0:
        told = f"--batch-size {batch // 2} --accumulate {recipe.accumulate * 2} (as many images a step), or {told}"
    return f"Another recipe, which starts anew, needs less: {told}."


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

    Each is a step of the last stage, with all terms in play, on a few images.

    Args:
        data: the training images of source, none for a source-free method, and target.

    Raises:
        UserError: on a machine without a GPU, or a batch of one image that does not fit.
    """
    fabric = launch(1, plan.runtime.precision)
    if fabric.device.type != "cuda":
        raise UserError(
            "--find-batch-size fills a GPU's memory until no larger batch fits, and there is no GPU here. On the CPU "
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
            f"Not even one image of each domain fits into {whole:.1f} GiB. Add --recompute and --precision bf16-mixed, "
            "or lower the crops."
        )
    yield f"The largest batch_size that fits into {whole:.1f} GiB is {best}."
    images = plan.recipe.batch_size * plan.recipe.accumulate
    share = max(part for part in range(1, best + 1) if images % part == 0)
    yield f"This recipe's {images} images of each domain a step: --batch-size {share} --accumulate {images // share}"


def step_memory(plan: RunPlan, data: tuple[DomainData | None, DomainData], batch: int) -> int | None:
    """Bytes that a step of the last stage holds at most on the GPU (0 on the CPU); none if they do not fit.

    Args:
        batch: images of each domain.
    """
    fabric = launch(1, plan.runtime.precision)
    cuda = fabric.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(fabric.device)
    try:
        _step(plan, data, batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    finally:
        gc.collect()
        if cuda:
            torch.cuda.empty_cache()
    return torch.cuda.max_memory_reserved(fabric.device) if cuda else 0


def _step(plan: RunPlan, data: tuple[DomainData | None, DomainData], batch: int) -> None:
    recipe = dataclasses.replace(plan.recipe, batch_size=batch, accumulate=1)
    source, target = (None if one is None else Few(one, max(2 * batch, 8)) for one in data)
    assert target is not None
    runtime = plan.runtime
    fabric = launch(1, runtime.precision)
    trainer = Trainer(
        recipe, fabric, source, target, runtime.seed, 0, runtime.compile, runtime.skip_bad_steps, 1.0, runtime.recompute
    )
    trainer.begin(recipe.schedule.stages[-1])
    for left in (2, 1):  # the second finds the optimiser's state in place
        trainer.done = recipe.schedule.steps - left
        trainer.step()


@dataclass
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
