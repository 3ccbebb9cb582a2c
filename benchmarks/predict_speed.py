"""Images a second of `da-toolkit predict`, and of a plain loop over Pillow and the network, in one run.

    python benchmarks/predict_speed.py

Both read the same JPEGs, decide at their own resolution and write the same kinds of PNGs, in turn.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from da_toolkit.data import Streets
from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.errors import exits_cleanly
from da_toolkit.evaluation.inference import Inference
from da_toolkit.files import write_json
from da_toolkit.models import LightDeepLabV3Plus
from da_toolkit.models.segmenter import Segmenter
from da_toolkit.predicting.inputs import Input
from da_toolkit.predicting.outputs import Kind, Outputs
from da_toolkit.predicting.pipeline import Network, Pipeline
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit

RESULTS = Path(__file__).parent / "results" / "predict_speed.json"
IMAGE, SIZE = (1024, 2048), (256, 512)
WRITTEN: dict[str, tuple[Kind, ...]] = {
    "masks, overlays, train ids": ("masks", "overlays", "train_ids"),
    "train ids": ("train_ids",),
}
PREDICT, PLAIN = "predict", "plain loop"


def make_images(folder: Path, count: int) -> list[Path]:
    """Street scenes as JPEGs."""
    scenes = Streets(look="camera", val_frames=count).build("val")
    files = []
    for number in range(count):
        image = cv2.resize(scenes.image(number), IMAGE[::-1], interpolation=cv2.INTER_CUBIC)
        grain = np.random.default_rng(number).integers(-6, 7, image.shape)  # or the files would be too easy to read
        files.append(folder / f"{number}.jpg")
        Image.fromarray(np.clip(image + grain, 0, 255).astype(np.uint8)).save(files[-1], quality=90)
    return files


@torch.inference_mode()
def plain(network: Segmenter, files: list[Path], out: Path, kinds: tuple[Kind, ...], device: torch.device) -> None:
    """What one writes first."""
    for kind in kinds:
        (out / kind).mkdir(parents=True)
    for file in files:
        image = Image.open(file).convert("RGB")
        small = np.asarray(image.resize(SIZE[::-1], Image.Resampling.BILINEAR))
        batch = torch.from_numpy(small.copy()).to(device).permute(2, 0, 1)[None].float() / 255
        logits = F.interpolate(network(batch).logits, size=image.size[::-1], mode="bilinear")
        classes = logits.argmax(1)[0].byte().cpu().numpy()
        mask = CITYSCAPES19.colorize(classes)
        drawn = {"train_ids": lambda ids=classes: ids, "masks": lambda colors=mask: colors}
        drawn["overlays"] = lambda photo=image, colors=mask: ((np.asarray(photo).astype(int) + colors) // 2).astype(
            "u1"
        )
        for kind in kinds:
            Image.fromarray(drawn[kind]()).save(out / kind / f"{file.stem}.png")


def ours(network: Segmenter, files: list[Path], out: Path, kinds: tuple[Kind, ...], device: torch.device) -> None:
    """As the command does."""
    outputs = Outputs(out, kinds, CITYSCAPES19)
    Pipeline(Network(network, device, Inference(), SIZE), outputs).run([Input(file.stem, file) for file in files])


def seconds(work: Callable[[Path], None], folder: Path) -> float:
    out = folder / "out"
    begin = time.perf_counter()
    work(out)
    took = time.perf_counter() - begin
    shutil.rmtree(out)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4, help="in each round (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="of both ways, in turn (default 3)")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = LightDeepLabV3Plus(weights="none").build(19).eval().to(device)
    rates: dict[str, dict[str, list[float]]] = {name: {PREDICT: [], PLAIN: []} for name in WRITTEN}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = make_images(folder, given.images)
        seconds(lambda out: ours(network, files[:2], out, ("train_ids",), device), folder)  # the first pass is slow
        for _ in range(given.rounds):
            for name, kinds in WRITTEN.items():
                for way, work in ((PREDICT, ours), (PLAIN, plain)):
                    took = seconds(lambda out, w=work, k=kinds: w(network, files, out, k, device), folder)
                    rates[name][way].append(len(files) / took)
    result = {"images_per_second": rates, "images": given.images, "image": IMAGE, "size": SIZE}
    result |= {"threads": torch.get_num_threads(), "load": os.getloadavg()[0], **environment(device)}
    write_json(RESULTS, result)
    print(table(json.loads(RESULTS.read_text())))


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| written | predict, images/s | plain loop, images/s | ratio |", "| --- | ---: | ---: | ---: |"]
    for name, ways in result["images_per_second"].items():
        fast, slow = (statistics.median(ways[way]) for way in (PREDICT, PLAIN))
        lines.append(f"| {name} | {fast:.2f} | {slow:.2f} | {fast / slow:.2f} |")
    first = next(iter(result["images_per_second"].values()))
    image, size = ("x".join(map(str, result[name])) for name in ("image", "size"))
    told = (
        f"Medians of {len(first[PREDICT])} rounds of {result['images']} JPEGs of {image}, seen by LightDeepLabV3Plus "
        f"(EfficientNet-Lite0) at {size}; {result['threads']} threads in PyTorch. {result['device']}, 1-minute load of "
        f"the machine {result['load']:.1f} on {result['cpus']} CPUs, commit {short_commit(result['commit'])}."
    )
    return "\n".join([told, "", *lines])


if __name__ == "__main__":
    exits_cleanly(main)
