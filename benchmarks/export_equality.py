"""How equal exported networks of every kind are to the network itself, and which sizes their files take.

    OMP_NUM_THREADS=1 python benchmarks/export_equality.py

Small networks with random weights, written as `da-toolkit export` does and run in onnxruntime and torch.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any, get_args

import torch
from records import keep

from da_toolkit.errors import UserError, exits_cleanly
from da_toolkit.exporting.deployed import Deployed
from da_toolkit.exporting.export import step_of
from da_toolkit.exporting.programs import Format, write_program
from da_toolkit.models import HRDA, DAFormer, DeepLabV2, EoMT, LightDeepLabV3Plus, VisionTransformer
from da_toolkit.models.settings import ModelSettings
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit

RESULTS = Path(__file__).parent / "results" / "export_equality.json"
SIZE = (64, 128)
NETWORKS: dict[str, ModelSettings] = {
    "DeepLabV2, ResNet": DeepLabV2("test_resnet", 8, "none", dilations=(6, 12)),
    "DeepLabV2, Caffe's ResNet-101": DeepLabV2("resnet101_caffe", 8, "none"),
    "LightDeepLabV3Plus, EfficientNet-Lite0": LightDeepLabV3Plus(weights="none"),
    "LightDeepLabV3Plus, ResNet": LightDeepLabV3Plus("test_resnet", weights="none", width=16),
    "DAFormer, Mix Transformer": DAFormer("mit_test", weights="none", width=16),
    "DAFormer, ResNet": DAFormer("test_resnet", weights="none", width=16),
    "VisionTransformer, patch 16": VisionTransformer("test_vit", 16, "none", blocks=2, width=16),
    "VisionTransformer, DINOv2 patch 14": VisionTransformer("vit_small_patch14_dinov2", 14, "none", width=16),
    "EoMT, patch 16": EoMT("test_vit", 16, "none", queries=5, joint_blocks=2),
    "HRDA, DAFormer": HRDA(DAFormer("mit_test", weights="none", width=16), attention_width=16),
}


def row(name: str, kind: Format) -> dict[str, Any]:
    """What became of one network in one format."""
    torch.manual_seed(0)
    network = Deployed(NETWORKS[name].build(19))
    with tempfile.TemporaryDirectory() as folder:
        try:
            written = write_program(network, kind, Path(folder), SIZE, step_of(network), {})
        except UserError as error:
            return {"network": name, "format": kind, "refused": str(error)}
    told = {"takes": written.freedom.told(SIZE), "measured_in": written.measured_in, **written.equality.to_json()}
    return {"network": name, "format": kind, "refused": None, **told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), metavar="NAME")
    parser.add_argument("--formats", nargs="+", default=get_args(Format), choices=get_args(Format))
    results: list[dict[str, Any]] = []
    asked = parser.parse_args()
    for name in asked.networks:
        for kind in asked.formats:
            results = keep(RESULTS, row(name, kind) | environment(torch.device("cpu")), ("network", "format"))
    print(table(results))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown."""
    commits = sorted({short_commit(result["commit"]) for result in results})
    ran = sorted({result["measured_in"] for result in results if not result["refused"]})
    lines = [
        f"Traced for {SIZE[0]}x{SIZE[1]}, random weights, made-up images; {', '.join(ran)}; commits "
        f"{', '.join(commits)}.",
        "",
        "| network | format | takes | logits differ by at most | of the largest logit | pixels of the same class |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for result in sorted(results, key=lambda result: (list(NETWORKS).index(result["network"]), result["format"])):
        start = f"| {result['network']} | {result['format']} |"
        if result["refused"]:
            lines.append(f"{start} refused | – | – | – |")
            continue
        differ, relative = result["largest_difference_of_logits"], result["relative_to_largest_logit"]
        same = f"{100 * result['share_of_equal_classes']:.3f} %"
        lines.append(f"{start} {result['takes']} | {differ:.1e} | {relative:.1e} | {same} |")
    return "\n".join(lines)


if __name__ == "__main__":
    exits_cleanly(main)
