"""The optimiser's parameter groups: which rate, how many updates a step, and whether weights decay."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from da_toolkit.errors import UserError
from da_toolkit.models.plain_transformer import layers
from da_toolkit.settings.optim import SGD, AdamW, Optimizer

_STAGES = {"layer1", "layer2", "layer3", "layer4"}


def parameter_groups(network: Any, settings: Optimizer) -> list[dict[str, Any]]:
    """Groups of the network's trained parameters, each with its own "lr" and whatever else is its own.

    Args:
        network: has `parameter_groups(lr, head_multiplier)`, and its encoder as `backbone`.

    Raises:
        UserError: nothing is left to train; `optimizer.repeats` is "as_published" and the backbone is no residual
            network; or `optimizer.layer_decay` is below 1 and it is no plain vision transformer.
    """
    groups = list(_trained(network.parameter_groups(settings.lr, settings.head_multiplier)))
    if not groups:
        raise UserError("Nothing of the network is left to train: its model or its method freezes every parameter.")
    backbone = getattr(network, "backbone", None)
    if settings.layer_decay < 1:
        rates = layer_rates(backbone, settings)
        groups = _divided(groups, lambda parameter: {"lr": rates[id(parameter)]} if id(parameter) in rates else {})
    if isinstance(settings, SGD) and settings.repeats == "as_published":
        often = published_repeats(backbone)
        groups = _divided(groups, lambda parameter: {"repeats": often.get(id(parameter), 1)})
    if isinstance(settings, AdamW) and not settings.decay_norms and isinstance(backbone, nn.Module):
        norms = {id(parameter) for parameter in _of_norms(backbone)}
        groups = _divided(groups, lambda parameter: {"weight_decay": 0.0} if id(parameter) in norms else {})
    return groups


def layer_rates(backbone: nn.Module | None, settings: Optimizer) -> dict[int, float]:
    """The rate of each parameter of a plain vision transformer, by its `id`: lr * layer_decay^(depth - layer).

    As BEiT is fine-tuned (Bao et al., ICLR 2022), but for the last block, which has the full rate. Raises `UserError`
    for another backbone.
    """
    layer_of, depth = layers(backbone if backbone is not None else nn.Module())
    return {key: settings.lr * settings.layer_decay ** (depth - layer) for key, layer in layer_of.items()}


def _trained(groups: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The groups without what a method has frozen; weight decay and momentum would move nothing there, but the state
    that an optimiser keeps of it would be saved and loaded."""
    for group in groups:
        if trained := [parameter for parameter in group["params"] if parameter.requires_grad]:
            yield {**group, "params": trained}


def published_repeats(backbone: nn.Module | None) -> dict[int, int]:
    """How often the DeepLab-v2 papers' optimisers hold each parameter of a residual network: by its `id`, 1, 3 or 4.

    They collect the parameters of every module of a stage, and a module's are its children's too: a convolution of a
    block counts in the stage, in the block and by itself, one of a downsampling path in that path too. So a number is
    how many modules deep a parameter lies, the stage included. The stem is one module, and counts once.

    Raises:
        UserError: the backbone has no stages layer1 ... layer4 of blocks.
    """
    found: dict[int, int] = {}
    stages = set()
    for name, parameter in backbone.named_parameters() if backbone is not None else ():
        path = name.split(".")[:-1]
        begin = next((place for place, part in enumerate(path) if part in _STAGES), None)
        if begin is None:
            found[id(parameter)] = 1
            continue
        found[id(parameter)] = len(path) - begin
        if re.fullmatch(r"\d+", path[begin + 1] if len(path) > begin + 1 else ""):
            stages.add(path[begin])
    if stages != _STAGES:
        raise UserError(
            "optimizer.repeats 'as_published' counts the convolutions of a residual network's blocks, and "
            "model.backbone has no stages layer1 ... layer4 of blocks: take a ResNet (such as resnet101), or set "
            "optimizer.repeats to once."
        )
    return found


def _of_norms(backbone: nn.Module) -> Iterator[nn.Parameter]:
    for module in backbone.modules():
        if "norm" in type(module).__name__.lower():  # torch's, timm's and frozen ones have no common class
            yield from module.parameters(recurse=False)


def _divided(groups: list[dict[str, Any]], own: Callable[[nn.Parameter], dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups, divided by the settings that each parameter has of its own."""
    divided: list[dict[str, Any]] = []
    for group in groups:
        parts: dict[tuple[tuple[str, Any], ...], dict[str, Any]] = {}
        for parameter in group["params"]:
            extra = own(parameter)
            part = parts.setdefault(tuple(extra.items()), {**group, **extra, "params": []})
            part["params"].append(parameter)
        divided += parts.values()
    return divided
