"""Memory that is too small for a run: what is said of it, and what to lower."""

import traceback
from collections.abc import Callable
from typing import Any, cast

import torch

from da_toolkit.errors import UserError
from da_toolkit.recipe.recipe import Recipe
from da_toolkit.runs.plan import RunPlan
from da_toolkit.training.trainer import Trainer

GIB = 2**30
_HOST = ("DefaultCPUAllocator", "not enough memory", "Cannot allocate memory")
_DEVICE = (  # what CUDA and its libraries say where torch's own allocator was not asked
    *("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
    "unable to find an engine to execute this computation",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or this machine, had no memory left."""
    told = isinstance(error, RuntimeError) and any(words in str(error) for words in _HOST)
    return isinstance(error, MemoryError) or told or _of_the_device(error)


def _of_the_device(error: BaseException) -> bool:
    told = isinstance(error, RuntimeError) and any(words in str(error) for words in _DEVICE)
    return isinstance(error, torch.OutOfMemoryError) or told


_RECOMPUTE_MORE = {"none": ["--recompute cheap (blocks keeps least)"], "cheap": ["--recompute blocks"], "blocks": []}
"""What a run may compute again beyond what it does already."""


def out_of_memory(error: BaseException, plan: RunPlan, trainer: Trainer) -> UserError | None:
    """What to tell of an error of a run that ends by it; nothing for errors of another kind."""
    if not is_out_of_memory(error):
        return None
    where = "This machine's memory"
    if _of_the_device(error) and torch.cuda.is_available():
        held, whole = torch.cuda.max_memory_allocated() / GIB, torch.cuda.mem_get_info()[1] / GIB
        where = f"The GPU's memory ({whole:.1f} GiB, of which this run held {held:.1f} at most)"
    recipe, runtime = plan.recipe, plan.runtime
    advice = ["--precision bf16-mixed"] if runtime.precision == "32-true" else []
    if _inside(error, Trainer.step):
        advice = ([] if runtime.compile else _RECOMPUTE_MORE[runtime.recompute]) + advice
        return UserError(
            f"{where} is too small for step {trainer.done + 1}. {_goes_on(advice)}{_smaller_steps(recipe)} "
            "--find-batch tells the largest batch that fits."
        )
    if _inside(error, Trainer.begin):
        height, width = recipe.evaluation_size
        few = f"a batch_size below {recipe.batch_size} or " * (recipe.batch_size > 4)
        told = f"the pass over target images that begins a stage. {_goes_on(advice)}Another recipe, which starts anew, "
        return UserError(f"{where} is too small for {told}needs less: {few}an evaluation.size below {height} {width}.")
    return UserError(
        f"{where} is too small for the scoring after step {trainer.done}. {_goes_on(advice)}Another recipe, which "
        f"starts anew, needs less: an evaluation.batch_size below {recipe.evaluation.batch_size}, or an "
        "evaluation.window, through which images are scored."
    )


def _inside(error: BaseException, function: Callable[..., object]) -> bool:
    """Whether an error was raised while the function ran."""
    code = cast(Any, function).__code__
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


def _goes_on(advice: list[str]) -> str:
    """What keeps less without being another recipe."""
    return (
        f"Less is kept with {' and '.join(advice)}; the run then goes on from its last checkpoint. " if advice else ""
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
