"""Low-rank adapters (LoRA) in a backbone, through the library peft; and what a file of such a network is without them.

Files keep a network as it was trained, adapters beside the weights they adapt, so that a run goes on exactly. Whatever
starts from such a file reads it merged: `W + scale * B A` under the name of `W`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from da_toolkit.errors import UserError, unknown_name

SCALE = "lora_scale"
"""The buffer of an adapted backbone that holds alpha / rank, so that its weights say by themselves what they mean."""


@dataclass(frozen=True)
class LoRA:
    """Low-rank adaptation (Hu et al., ICLR 2022): weights W stay, and W + (alpha / rank) B A acts in their place."""

    rank: int = 16
    """Rows of A and columns of B."""
    alpha: int = 32
    """The product's factor is this over the rank."""
    targets: tuple[str, ...] = ("attn.qkv", "attn.proj")
    """Linear layers of every block that are adapted, by their names within it; "mlp.fc1" and "mlp.fc2" are others."""

    def __post_init__(self) -> None:
        for name in ("rank", "alpha"):
            if getattr(self, name) < 1:
                raise UserError(f"model.lora.{name} must be at least 1, got {getattr(self, name)}.")
        if not self.targets:
            raise UserError('model.lora.targets names no layer: give some, or set model.adapt to "frozen".')


def adapted(backbone: nn.Module, blocks: nn.ModuleList, settings: LoRA) -> None:
    """Put adapters into the blocks of a backbone; they alone learn from then on. At first they change nothing.

    Raises `UserError` where peft is missing, or a target is no linear layer of the blocks.
    """
    try:
        import peft  # it brings transformers along: seconds, that other runs need not pay
    except ImportError as error:
        raise UserError(
            "model.adapt 'lora' needs the package peft: pip install 'da_toolkit[lora]'; or set model.adapt to all or "
            "frozen."
        ) from error
    known = [name for name, layer in blocks[0].named_modules() if isinstance(layer, nn.Linear)]
    for target in settings.targets:
        if target not in known:
            raise unknown_name("layer in model.lora.targets", target, known)
    backbone.requires_grad_(False)
    config = peft.LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=list(settings.targets), lora_dropout=0.0, bias="none"
    )
    for block in blocks:
        _call_projections(block)
        peft.inject_adapter_in_model(config, block)
    backbone.register_buffer(SCALE, torch.tensor(settings.alpha / settings.rank))


def _call_projections(block: nn.Module) -> None:
    """Let attention call its joint projection as a layer: some of timm's only borrow its weight, past any adapter."""
    for attention in block.modules():
        if getattr(attention, "q_bias", None) is not None:
            cast(Any, attention).qkv_bias_separate = True  # the same sum, with the biases added after


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network under the names that it has without adapters; those of adapters are left out."""
    return {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in state.items()
        if ".lora_" not in name and not _is_scale(name)
    }


def merged(table: dict[str, Tensor]) -> dict[str, Tensor]:
    """The named tensors of a file with all adapters merged into the weights they adapt; others as they are.

    Raises `UserError` for adapters whose scale or other half is not in the table.
    """
    if not any(".lora_" in name for name in table):
        return table
    plain = plain_names(table)
    scales = {name.removesuffix(SCALE): tensor for name, tensor in table.items() if _is_scale(name)}
    for name, down in table.items():
        layer, found, rest = name.partition(".lora_A.")
        if not found:
            continue
        up, base = table.get(f"{layer}.lora_B.{rest}"), plain.get(f"{layer}.weight")
        scale = next((tensor for prefix, tensor in scales.items() if layer.startswith(prefix)), None)
        if up is None or base is None or scale is None:
            lacks = "the weight that it adapts" if base is None else "its other factor" if up is None else "its scale"
            raise UserError(
                f"model.weights: beside the adapter {name} the file lacks {lacks}. Merge the adapters into the network "
                "with the library that made them, and save that."
            )
        product = scale.double() * (up.double() @ down.double())
        plain[f"{layer}.weight"] = (base.double() + product).to(base.dtype)
    return plain


def _is_scale(name: str) -> bool:
    return name == SCALE or name.endswith(f".{SCALE}")
