"""Hours that the published schedules take, estimated from FLOPs: a table of docs/reproduce.md, from results/sizes.json.

    hours = FLOPs of a step's passes with gradient x steps / the rate that a card keeps up

Nothing is timed. Not in it: passes without gradient (teachers, frozen copies, evaluations, passes over the target
between rounds), discriminators and loading. A teacher's pass adds about a third of a pass with gradient.
"""

from typing import Any

from da_toolkit.recipe import find_recipe, load_recipe

GIB = 2**30
RATES = {
    "fp32, 10 TFLOP/s": 10e12,
    "bf16, 60 TFLOP/s": 60e12,
}
"""FLOP/s that are kept up in training, which is below what a card's sheet says."""


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a recipe.

    Args:
        results: contents of results/sizes.json.
    """
    rates = " | ".join(f"hours at {name}" for name in RATES)
    lines = [
        f"| recipe | steps | memory, GiB | TFLOP a step | {rates} |",
        "| --- | ---: | ---: | ---: |" + " ---: |" * len(RATES),
    ]
    for result in sorted(results, key=lambda result: result["recipe"]):
        steps = load_recipe(find_recipe(result["recipe"])).schedule.steps
        memory = sum(result["memory"].values()) / GIB
        hours = " | ".join(f"{result['flops'] * steps / rate / 3600:.0f}" for rate in RATES.values())
        lines.append(f"| {result['recipe']} | {steps:,} | {memory:.1f} | {result['flops'] / 1e12:.1f} | {hours} |")
    return "\n".join(lines)
