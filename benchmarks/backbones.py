"""Which of timm's networks work as backbones, at which output stride, and in which sentence the others are refused.

    OMP_NUM_THREADS=1 python benchmarks/backbones.py

The smallest network of each of timm's families is built with random weights into DeepLabV2 at strides 8, 16 and 32,
LightDeepLabV3Plus, DAFormer and VisionTransformer, tried as a run tries it, and then trained one step and evaluated,
at 64x128. A file of the classification network's weights is read into it too. Whatever is neither a success nor a
`UserError` is an error of the toolkit, and is recorded as one.
"""

import argparse
import gc
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from records import keep

from da_toolkit.errors import UserError, exits_cleanly
from da_toolkit.models import DAFormer, DeepLabV2, LightDeepLabV3Plus, VisionTransformer
from da_toolkit.models.backbones import build_backbone
from da_toolkit.models.pyramid import PyramidSegmenter
from da_toolkit.models.settings import ModelSettings
from da_toolkit.models.trial import Pass, check_passes
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit

RESULTS = Path(__file__).parent / "results" / "backbones.json"
SIZE = (64, 128)
WORKS = "works"
BACKBONES = """
beit_base_patch16_224 halonet_h1 mobileone_s1 cait_xxs24_224 coat_tiny convit_tiny convmixer_768_32 convnext_atto
cpubone_nano crossvit_tiny_240 csatv2 cs3darknet_focus_s cspnext_tiny davit_tiny deit_tiny_patch16_224 densenet121
dla46x_c dpn48b edgenext_xx_small efficientformer_l1 efficientformerv2_s0 mobilenetv2_035 tf_efficientnet_lite0
efficientvim_m1 efficientvit_b0 efficientvit_m0 vit_tiny_patch16_dinov3_qkvb fasternet_t0 fastvit_t8 focalnet_tiny_srf
gcvit_xxtiny ghostnet_050 hardcorenas_b hgnetv2_b0 hiera_tiny_224 sam2_hiera_tiny hrnet_w18_small iformer_t
inception_next_atto inception_v3 lcnetv2_small levit_128s lowformer_b0 mambaout_femto maxvit_pico_rw_256
coatnet_pico_rw_224 poolformerv2_s12 gmlp_ti16_224 mobilenetv3_small_050 mobilevit_xxs mvitv2_tiny jx_nest_tiny
nextvit_small nf_regnet_b0 pit_ti_224 pvt_v2_b0 rdnet_tiny regnetx_002 repghostnet_050 repvit_m1 res2next50 resnest14d
resnet10t resnetv2_18 rexnet_100 selecsls42 legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s050
swiftformer_xs swin_tiny_patch4_window7_224 swinv2_tiny_window16_256 swinv2_cr_tiny_224 tiny_vit_5m_224 tresnet_m
twins_svt_small vgg11 visformer_tiny vit_tiny_patch16_224 vit_tiny_r_s16_p8_224 vit_srelpos_small_patch16_224
samvit_base_patch16_224 vitamin_small_224 volo_d1_224 ese_vovnet19b_slim_dw legacy_xception xception41p
xcit_nano_12_p8_224
""".split()  # noqa: SIM905


def networks(backbone: str) -> dict[str, ModelSettings]:
    """The networks that a backbone is built into, by a name for the table."""
    chosen: dict[str, ModelSettings] = {f"DeepLabV2 {s}": DeepLabV2(backbone, s, "none") for s in (8, 16, 32)}
    chosen["LightDeepLabV3Plus 16"] = LightDeepLabV3Plus(backbone, 16, "none")
    chosen["LightDeepLabV3Plus 32"] = LightDeepLabV3Plus(backbone, 32, "none")
    chosen["DAFormer 32"] = DAFormer(backbone, weights="none", width=64)
    chosen["VisionTransformer 16"] = VisionTransformer(backbone, 16, "none")
    return chosen


def row(backbone: str) -> dict[str, Any]:
    """What became of each network, and of a file of weights."""
    found = {}
    for name, settings in networks(backbone).items():
        found[name] = outcome(lambda settings=settings: trained(settings))
        gc.collect()
    return {"backbone": backbone, "networks": found, "weights_file": outcome(lambda: from_file(backbone, found))}


def outcome(work: Callable[[], object]) -> str:
    """ "works", the sentence of a `UserError`, or any other exception as "error: ..."."""
    try:
        work()
    except UserError as refused:
        return str(refused)
    except Exception as error:  # what the table is there to find
        return f"error: {type(error).__name__}: {error}"
    return WORKS


def trained(settings: ModelSettings) -> None:
    """Build a network, try it as a run does, train a step and evaluate."""
    network: PyramidSegmenter = settings.build(19)
    check_passes(network, [Pass(SIZE, 2, True, "source.size"), Pass(SIZE, 4, False, "target.size")])
    output = network.train()(torch.rand(2, 3, *SIZE))
    (output.logits.square().mean() + output.features.square().mean()).backward()
    stride = SIZE[0] / output.features.shape[2]
    if abs(stride - settings.output_stride) > settings.output_stride / 4:
        raise AssertionError(f"the stride is {stride:g}, not {settings.output_stride}")
    with torch.inference_mode():
        network.eval()(torch.rand(1, 3, *SIZE))


def from_file(backbone: str, found: dict[str, str]) -> None:
    """Read a file of the classification network's weights into the pyramid, at the first stride that works."""
    import timm

    strides = [int(name.split()[1]) for name, what in found.items() if name.startswith("DeepLabV2") and what == WORKS]
    if not strides:
        raise UserError("no network to read it into")
    whole = timm.create_model(backbone, pretrained=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pth"
        torch.save({"state_dict": {f"module.{key}": value for key, value in whole.state_dict().items()}}, file)
        try:
            pyramid = build_backbone(backbone, strides[0], str(file))
        except UserError as error:
            raise UserError(str(error).replace(str(file), file.name)) from error
    stored = [value.double().sum() for value in whole.state_dict().values()]
    for value in pyramid.state_dict().values():
        assert any(torch.equal(value.double().sum(), other) for other in stored), "tensors are not those of the file"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, help="by default all of the list")
    torch.set_num_threads(1)
    for backbone in parser.parse_args().backbones:
        result = row(backbone) | environment(torch.device("cpu"))
        results = keep(RESULTS, result, ("backbone",))
        print(backbone, {name: what[:60] for name, what in result["networks"].items()}, result["weights_file"][:60])
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: the strides at which each network takes a backbone, and the reason for the last refusal."""
    commits = sorted({short_commit(result["commit"]) for result in results})
    wholly = [result for result in results if WORKS not in result["networks"].values()]
    errors = sum(what.startswith("error") for result in results for what in _all(result))
    lines = [
        f"{len(results)} backbones, images {SIZE[0]}x{SIZE[1]}; {len(results) - len(wholly)} work in some network, the "
        f"others are refused in a sentence; {errors} other exceptions; commits {', '.join(commits)}.",
        "",
        "| backbone | DeepLabV2 | LightDeepLabV3Plus | DAFormer | VisionTransformer | weights file | if none: why |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in sorted(results, key=lambda result: result["backbone"]):
        cells = [
            _strides(result, kind) for kind in ("DeepLabV2", "LightDeepLabV3Plus", "DAFormer", "VisionTransformer")
        ]
        reason = "" if result not in wholly else _reason(result["networks"])
        file = "loads" if result["weights_file"] == WORKS else "–"
        lines.append(f"| {result['backbone']} | {' | '.join(cells)} | {file} | {reason} |")
    return "\n".join(lines)


def _all(result: dict[str, Any]) -> list[str]:
    return [*result["networks"].values(), result["weights_file"]]


def _strides(result: dict[str, Any], kind: str) -> str:
    """Strides at which a network works, such as "8, 16"."""
    found = [name.split()[1] for name, what in result["networks"].items() if name.split()[0] == kind and what == WORKS]
    return ", ".join(found) or "–"


def _reason(found: dict[str, str]) -> str:
    """The refusal that says most: of a size, else of a stride."""
    told = [what for name, what in found.items() if name.startswith("DeepLabV2")]
    return next((what for what in told if "cannot take" in what), told[-1]).replace("|", "/")


if __name__ == "__main__":
    exits_cleanly(main)
