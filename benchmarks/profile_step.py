"""Where a recipe's training step goes: milliseconds by part and by term, the ten dearest operators, a trace to look at.

    python benchmarks/profile_step.py adv_rpt_gta --demo
    python benchmarks/profile_step.py adaptseg_carla --data-root FOLDER --steps 10 --trace adaptseg.json

A part's time holds that of the parts inside it: a term's losses ask for the network's pass. The trace opens in
ui.perfetto.dev or chrome://tracing. "Waits" are reads of single numbers, for which
the host waits for a GPU. Profiling itself costs time, so read shares, not milliseconds.
"""

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from da_toolkit.errors import exits_cleanly
from da_toolkit.recipe import find_recipe, load_recipe
from da_toolkit.recipe.demo import demo_version
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session
from da_toolkit.training.trainer import Trainer

PART = "part: "
WAIT = "aten::_local_scalar_dense"
WARM = 3  # steps before


def mark_parts(trainer: Trainer) -> None:
    """Let what a step is made of be told in the profile."""
    _mark(trainer.images, "next", "loader")
    _mark(trainer, "network", "network, forward")
    _mark(trainer, "_backward", "backward to the network's output")
    _mark(torch.autograd, "backward", "backward through the network")
    _mark(trainer, "_check", "guard")
    _mark(trainer.optimizer, "step", "optimiser")
    for number, optimizer in trainer.term_optimizers.items():
        _mark(optimizer, "step", f"optimiser of {type(trainer.terms[number]).__name__}")
    for term in trainer.terms:
        for name in ("transform", "losses", "update", "follow"):
            _mark(term, name, f"{type(term).__name__}.{name}")


def _mark(owner: Any, name: str, label: str) -> None:
    inner: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(inner)
    def marked(*args: Any, **kwargs: Any) -> Any:
        with record_function(PART + label):
            return inner(*args, **kwargs)

    object.__setattr__(owner, name, marked)


def profiled(trainer: Trainer, steps: int, trace: Path | None) -> tuple[float, dict[str, float], list, float]:
    """Milliseconds of a step; of each part of it; the operators (name, self ms a step, calls a step), dearest first;
    and waits a step."""
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as found:
        for _ in range(steps):
            with record_function("step"):
                trainer.step()
                if on_gpu:
                    torch.cuda.synchronize()
    if trace is not None:
        found.export_chrome_trace(str(trace))
    events = [event for event in found.key_averages() if event.device_type == DeviceType.CPU]  # the GPU's are in them
    whole = next(event.cpu_time_total for event in events if event.key == "step") / 1000 / steps
    parts = {
        event.key.removeprefix(PART): event.cpu_time_total / 1000 / steps
        for event in sorted(events, key=lambda event: -event.cpu_time_total)
        if event.key.startswith(PART)
    }
    operators = [
        (event.key, _own(event) / 1000 / steps, event.count / steps)
        for event in sorted(events, key=_own, reverse=True)
        if not event.key.startswith(PART) and event.key != "step"
    ]
    waits = sum(event.count for event in events if event.key == WAIT) / steps
    return whole, parts, operators, waits


def _own(event: Any) -> float:
    """Microseconds of an operator without those that it calls, on the GPU where there is one."""
    return float(event.self_device_time_total if torch.cuda.is_available() else event.self_cpu_time_total)


def table(whole: float, parts: dict[str, float], operators: list, waits: float) -> str:
    """Markdown."""
    lines = [
        f"A step takes {whole:.0f} ms under the profiler and would wait for the device {waits:.0f} times.",
        "",
        "| part | ms | share |",
        "| --- | ---: | ---: |",
        *[f"| {name} | {ms:.1f} | {ms / whole:.0%} |" for name, ms in parts.items()],
        "",
        "| operator | own ms a step | share | calls a step |",
        "| --- | ---: | ---: | ---: |",
        *[f"| {name} | {ms:.1f} | {ms / whole:.0%} | {calls:.0f} |" for name, ms, calls in operators[:10]],
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="its name or file")
    parser.add_argument("--demo", action="store_true", help="its method on the street world")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--steps", type=int, default=5, help="under the profiler (default 5)")
    parser.add_argument("--at", type=float, default=0.9, help="share of the run at which (0.9: all are in play)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", default="32-true", choices=("32-true", "bf16-mixed", "16-mixed"))
    parser.add_argument("--trace", type=Path, help="file to write")
    options = parser.parse_args()
    recipe = load_recipe(find_recipe(options.recipe))
    recipe = demo_version(recipe) if options.demo else recipe
    with tempfile.TemporaryDirectory() as runs:
        runtime = Runtime(
            data_root=options.data_root,
            runs=Path(runs),
            tracking="none",
            workers=options.workers,
            precision=options.precision,
        )
        trainer, _ = Session(options.recipe, recipe, runtime).build()
        trainer.done = int(options.at * recipe.schedule.steps)
        trainer.begin(recipe.schedule.stage_after(trainer.done))
        try:
            for _ in range(WARM):
                trainer.step()
            mark_parts(trainer)
            print(table(*profiled(trainer, options.steps, options.trace)))
        finally:
            trainer.images.close()


if __name__ == "__main__":
    exits_cleanly(main)
