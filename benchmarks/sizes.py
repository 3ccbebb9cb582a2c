"""Parameters, memory and FLOPs of a training step of every GTA5 and SYNTHIA recipe: which GPU it needs.

    python benchmarks/sizes.py

Nothing of the published size is computed: networks and terms are built on PyTorch's meta device, and a step's passes
run there in shapes alone. Which passes a step has is seen in a run of the recipe's method at tiny size.

    memory = 4 bytes x (all tensors of network and terms + trained ones once more for their gradients
             + trained ones x 1 for SGD's momentum, x 2 for AdamW's and the players' moments)
             + what autograd keeps of all passes with gradient, up to the log-softmax at the images' resolution

in single precision. Not in it: passes without gradient, activations of discriminators, the library's workspaces and
the device's own context. FLOPs are those of the passes with gradient, forward and backward, a multiplication and an
addition counting two.
"""

import argparse
import dataclasses
import functools
import gc
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from records import keep
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from da_toolkit.data import Streets
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import exits_cleanly
from da_toolkit.models import DeepLabV2
from da_toolkit.models.pyramid import PyramidSegmenter
from da_toolkit.models.settings import ModelSettings
from da_toolkit.recipe import AdamW, Recipe, find_recipe, load_recipe, recipe_files
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit
from da_toolkit.terms.term import BuildContext, Method
from da_toolkit.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "sizes.json"
TINY = {"source": (48, 64), "target": (48, 96)}
WORLD: dict[str, Any] = {"frames": 4, "val_frames": 2, "render_size": (48, 96)}
STEPS = 10
GIB = 2**30
FLOAT = 4


def row(name: str) -> dict[str, Any]:
    """The sizes of a recipe; memory in bytes."""
    recipe = load_recipe(find_recipe(name))
    passes = step_passes(recipe)
    recipe = dataclasses.replace(recipe, model=recipe.model.with_weights("none"))
    space = recipe.source.label_space
    with torch.device("meta"):
        network = recipe.model.build(len(space)).train()
        context = BuildContext(space, network.feature_channels, network, recipe.model)
        players = nn.ModuleList(recipe.method.build(context))
        trained = count(network.parameters(), trained=True)
        judges = sum(
            sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"])
            for term in players
            if (optimizer := term.optimizer()) is not None  # type: ignore[operator]
        )
    kept, flops = costs(recipe.model, len(space), tuple(passes))
    moments = 2 if isinstance(recipe.optimizer, AdamW) else 1
    memory = {
        "tensors": FLOAT * (count(tensors(network)) + count(tensors(players))),
        "gradients": FLOAT * (trained + judges),
        "optimiser": FLOAT * (moments * trained + 2 * judges),
        "activations": kept,
    }
    return {
        "recipe": name,
        "backbone": recipe.model.backbone,
        "passes": [list(shape) for shape in passes],
        "parameters": count(network.parameters()),
        "trained": trained,
        "terms": count(players.parameters()),
        "memory": memory,
        "flops": flops,
    }


def tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def count(values: Iterator[Tensor], trained: bool = False) -> int:
    """Numbers in tensors; those of the trained alone if asked."""
    return sum(value.numel() for value in values if value.requires_grad or not trained)


@functools.cache  # many recipes share network and passes
def costs(model: ModelSettings, num_classes: int, passes: tuple[tuple[int, ...], ...]) -> tuple[int, int]:
    """`kept_and_flops` of a network with random weights, without computing."""
    with torch.device("meta"):
        return kept_and_flops(model.build(num_classes).train(), passes)


def kept_and_flops(network: PyramidSegmenter, passes: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    """Bytes that autograd keeps of passes on images of these shapes, and FLOPs with their backward, on any device."""
    own = {tensor.untyped_storage()._cdata for tensor in tensors(network)}
    seen: dict[int, Tensor] = {}  # the tensors live on, so that no storage has the number of one that is gone

    def see(tensor: Tensor) -> Tensor:
        if (storage := tensor.untyped_storage()._cdata) not in own:
            seen[storage] = tensor
        return tensor

    device = next(network.parameters()).device
    fused = patch.object(F, "scaled_dot_product_attention", attention) if device.type == "meta" else nullcontext()
    with fused, FlopCounterMode(display=False) as flops:
        losses = []
        with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
            for shape in passes:
                output = network(torch.rand(shape, device=device))
                levels = [level for level in (output.logits, output.aux_logits) if level is not None]
                maps = [output.enlarged(level, shape[2:]) for level in levels]
                maps += [output.detail.enlarged()] if output.detail is not None else []
                losses += [pixels.log_softmax(1).mean() for pixels in maps]
        kept = sum(tensor.untyped_storage().nbytes() for tensor in seen.values())
        torch.stack(losses).sum().backward()
    return kept, flops.get_total_flops()


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """torch's attention as GPUs compute it: the meta device would keep the weights of all pairs of tokens."""
    fused = torch.ops.aten._scaled_dot_product_efficient_attention
    return fused(query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale)[0]


def step_passes(recipe: Recipe) -> list[tuple[int, ...]]:
    """[B,3,H,W] of the images of each pass with gradient, in the step that has most of them."""
    crops = {name: getattr(recipe, f"{name}_augmentation").crop for name in TINY}
    plain = dataclasses.replace(
        recipe,
        source=Streets(size=TINY["source"], look="game", **WORLD),
        # Of one size where crops make it so, for they may be mixed.
        target=Streets(size=TINY["source" if crops["target"] else "target"], look="camera", **WORLD),
        model=DeepLabV2("test_resnet", 16, "none", aux=recipe.model.aux, dilations=(1, 2)),
        method=with_tiny_rpt(recipe.method),
        schedule=recipe.schedule.scaled(STEPS),
        optimizer=AdamW(),  # the recipe's may name layers of its own network
        source_augmentation=Augmentation(),
        target_augmentation=Augmentation(),
        rare_classes=None,
        reported=None,
    )
    real = {TINY[name][1]: crops[name] or getattr(recipe, name).size for name in ("target", "source")}
    return [(batch, 3, *real[width]) for batch, width in passes_of(plain)]


@functools.cache  # GTA5's and SYNTHIA's methods are mostly the same
def passes_of(tiny: Recipe) -> list[tuple[int, int]]:
    """Images and width of each pass with gradient, in the step of a run that has most of them."""
    from lightning.fabric import Fabric

    data = [getattr(tiny, name).build("train", None) for name in TINY]
    trainer = Trainer(tiny, Fabric(accelerator="cpu", devices=1), *data)
    steps: list[list[tuple[int, int]]] = [[]]

    def see(_: nn.Module, images: tuple[Tensor], output: Any) -> None:
        if output.logits.requires_grad:
            steps[-1].append((images[0].shape[0], images[0].shape[3]))

    trainer.model.register_forward_hook(see)
    trainer.fit(lambda *_: None, after_step=lambda _: steps.append([]))
    return max(steps, key=lambda shapes: sum(batch * width for batch, width in shapes))


def with_tiny_rpt(method: Method) -> Method:
    rpt = RPT(
        Patch(1.0), Cluster(clusters=4, components=2), SpatialLogic(weight=1.0, steps=3, width=8), Superpixels(12)
    )
    parts = tuple(rpt if isinstance(part, RPT) else part for part in method.regularizers)
    return dataclasses.replace(method, regularizers=parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", help="by default all; rows of others stay as they are")
    wanted = parser.parse_args().recipes or [name for name in recipe_files() if name.endswith(("_gta", "_synthia"))]
    torch.set_num_threads(1)
    results: list[dict[str, Any]] = []
    for name in wanted:
        results = keep(RESULTS, row(name) | environment(torch.device("cpu")), ("recipe",))
        gc.collect()
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a recipe."""
    commits = sorted({short_commit(result["commit"]) for result in results})
    lines = [
        f"{len(results)} recipes, single precision, a process; commits {', '.join(commits)}.",
        "",
        "| recipe | backbone | network, M | terms, M | passes with gradient | kept, GiB | memory, GiB | TFLOP |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for result in sorted(results, key=lambda result: result["recipe"]):
        memory = result["memory"]
        passes = ", ".join(f"{shape[0]} of {shape[2]}x{shape[3]}" for shape in result["passes"])
        numbers = f"{result['parameters'] / 1e6:.2f} | {result['terms'] / 1e6:.2f}"
        sums = f"{memory['activations'] / GIB:.1f} | {sum(memory.values()) / GIB:.1f} | {result['flops'] / 1e12:.2f}"
        lines.append(f"| {result['recipe']} | {result['backbone']} | {numbers} | {passes} | {sums} |")
    return "\n".join(lines)


if __name__ == "__main__":
    exits_cleanly(main)
