"""Mix Transformer backbones (MiT; Xie et al., NeurIPS 2021) from the transformers library, as feature pyramids."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from da_toolkit.errors import UserError, unknown_name
from da_toolkit.models.downloads import quick_to_fail
from da_toolkit.models.matching import load, match
from da_toolkit.models.weights import find_file, read_tables

_WIDE = [64, 128, 320, 512]
# channels and depths of the four stages; "mit_test" is for tests
_VARIANTS = {
    "mit_b0": ([32, 64, 160, 256], [2, 2, 2, 2]),
    "mit_b1": (_WIDE, [2, 2, 2, 2]),
    "mit_b2": (_WIDE, [3, 4, 6, 3]),
    "mit_b3": (_WIDE, [3, 4, 18, 3]),
    "mit_b4": (_WIDE, [3, 8, 27, 3]),
    "mit_b5": (_WIDE, [3, 6, 40, 3]),
    "mit_test": ([8, 16, 20, 32], [1, 1, 1, 1]),
}
STRIDES = [4, 8, 16, 32]


class FeatureInfo:
    """Channels and strides of the feature maps, as timm's networks tell them."""

    def __init__(self, channels: list[int], strides: list[int]) -> None:
        self._channels, self._strides = channels, strides

    def channels(self) -> list[int]:
        return self._channels

    def reduction(self) -> list[int]:
        return self._strides

    def __len__(self) -> int:
        return len(self._channels)


class MixTransformer(nn.Module):
    """Images [B,3,H,W] -> four maps of strides 4, 8, 16 and 32."""

    def __init__(self, name: str) -> None:
        super().__init__()
        transformers = _library()
        if name not in _VARIANTS:
            raise unknown_name("backbone", name, _VARIANTS)
        channels, depths = _VARIANTS[name]
        self.feature_info = FeatureInfo(channels, STRIDES)
        heads = [max(1, width // (channels[0])) if name != "mit_test" else 1 for width in channels]
        config = transformers.SegformerConfig(
            depths=depths, hidden_sizes=channels, num_attention_heads=heads, drop_path_rate=0.1
        )
        self.encoder = transformers.SegformerModel(config)

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.encoder(images, output_hidden_states=True).hidden_states)


def build_mix_transformer(name: str, weights: str) -> MixTransformer:
    """A MiT backbone.

    Args:
        name: mit_b0 ... mit_b5.
        weights: "none", "hub" (nvidia/mit-bN, downloaded or in the Hugging Face cache), a folder that
            `save_pretrained` wrote, a .safetensors or .pth file of a `SegformerModel` or of a segmentation network
            around one, or a run's folder.

    Raises:
        UserError: the library is missing, an unknown name, or weights that cannot be had or do not fit.
    """
    backbone = MixTransformer(name)
    if weights == "none":
        return backbone
    place = f"nvidia/{name.replace('_', '-')}" if weights == "hub" else weights
    state = None
    folder = Path(weights).is_dir() and not (Path(weights) / "recipe.json").exists()
    if weights != "hub" and not folder:
        if not Path(weights).exists():
            raise UserError(
                f"model.weights of {name} is 'hub', 'none', or the path of a folder or file; got {weights!r}."
            )
        tables, wanted = read_tables(find_file(weights)), backbone.encoder.state_dict()
        found = match(tables, wanted)
        if not found.missing(wanted) and not found.unfit(wanted):
            load(backbone.encoder, found)
            return backbone
        state = max(tables.values(), key=len)
    loaded, missing = _library_state(backbone, place, state, weights == "hub")
    unfit = missing + [
        key
        for key, value in backbone.encoder.state_dict().items()
        if key not in missing and (key not in loaded or loaded[key].shape != value.shape)
    ]
    if unfit:
        raise UserError(
            f"model.weights: {place} does not fit backbone {name!r}: {len(unfit)} tensors are missing or of another "
            f"shape, the first is {unfit[0]!r}. Use weights of a SegformerModel of that size."
        )
    backbone.encoder.load_state_dict({key: loaded[key] for key in backbone.encoder.state_dict()})
    return backbone


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            "MiT backbones need the package transformers: pip install 'da_toolkit[transformers]'."
        ) from error
    return transformers


def _library_state(
    backbone: MixTransformer, place: str, state: dict[str, torch.Tensor] | None, download: bool
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The encoder's tensors, and the names of those that did not come from `state`, or from `place` where it is none.

    The library reads them, for it knows every layout of names that its versions have written.
    """
    try:
        with quick_to_fail() if download else nullcontext():
            loaded, report = type(backbone.encoder).from_pretrained(
                place if state is None else None,
                **({} if state is None else {"config": backbone.encoder.config, "state_dict": state}),
                local_files_only=not download,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # the library's download stack raises many types; all mean "no weights"
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"model.weights: {place} could not be loaded ({type(error).__name__}: {reason}). With "
            "no network, download it elsewhere and set --model.weights FOLDER, or use --model.weights none for random "
            "ones."
        ) from error
    mismatched = [key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]]
    return loaded.state_dict(), sorted({*report["missing_keys"], *mismatched})
