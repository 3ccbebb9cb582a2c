"""Images a second from PNGs of official size: our loader without and with a frame cache, and the usual Pillow path.

    python benchmarks/loader.py

The files are street scenes with a camera's noise, written at the sizes of GTA5 and Cityscapes, so that they are about
as large, and as hard to decompress, as theirs. All ways take turns in one run, with two worker processes each.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from speed import median_ms
from torch.utils.data import DataLoader, Dataset

from da_toolkit.data import GTA5, Augmentation, Cityscapes, Streets, png
from da_toolkit.data.domain import DomainData
from da_toolkit.data.export import export_cityscapes, export_gta5
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.frame_cache import FrameCache, Frames
from da_toolkit.data.loader import Loading
from da_toolkit.data.samples import Samples
from da_toolkit.data.sampling import EpochSampler
from da_toolkit.data.transforms import augment
from da_toolkit.errors import exits_cleanly
from da_toolkit.files import write_json
from da_toolkit.runs.provenance import environment, package_versions
from da_toolkit.shareable import short_commit
from da_toolkit.workers import keep_memory

RESULTS = Path(__file__).parent / "results" / "loader.json"
WORKERS, BATCH = 2, 2
CROP = Augmentation(flip=True, crop=(512, 512))
NOISE = 1.2  # standard deviation in grey levels; then files are as large as the official ones, 2.3 to 2.5 MB
CACHED, PLAIN, SLOW, PILLOW = "frame cache", "files", "files, decoded by Pillow", "Pillow path"
WAYS = (PILLOW, PLAIN, SLOW, CACHED)
MEAN, DEVIATION = ([[[value]] for value in values] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


class Noisy(DomainData):
    """A domain enlarged to `size` with noise, which is what makes photographs large."""

    def __init__(self, data: DomainData, size: tuple[int, int]) -> None:
        super().__init__(data.name, data.split, data.label_space, True)
        self.data, self.size = data, size

    def __len__(self) -> int:
        return len(self.data)

    def key(self, index: int) -> str:
        return self.data.key(index)

    def image(self, index: int) -> np.ndarray:
        picture = Image.fromarray(self.data.image(index)).resize(self.size[::-1], Image.Resampling.BICUBIC)
        grain = np.random.default_rng(index).normal(0, NOISE, (*self.size, 3))
        return np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)

    def label(self, index: int) -> np.ndarray:
        picture = Image.fromarray(self.data.label(index))
        return np.asarray(picture.resize(self.size[::-1], Image.Resampling.NEAREST))


class PillowPath(Dataset):
    """What one writes first."""

    def __init__(self, data: FileDomainData, size: tuple[int, int]) -> None:
        self.pairs, self.size = data.pairs, size

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        pair, size = self.pairs[index], self.size[::-1]
        image = Image.open(pair.image).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        label = Image.open(pair.label).resize(size, Image.Resampling.NEAREST)
        return self.changed(np.asarray(image), np.asarray(label))

    def changed(self, image: np.ndarray, label: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Crop, flip, and the numbers that a network takes."""
        height, width = CROP.crop or self.size
        top, left = random.randint(0, self.size[0] - height), random.randint(0, self.size[1] - width)
        image, label = (values[top : top + height, left : left + width] for values in (image, label))
        if random.random() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        values = (image.transpose(2, 0, 1) / np.float32(255) - np.float32(MEAN)) / np.float32(DEVIATION)
        return torch.from_numpy(values), torch.from_numpy(label.astype(np.int64))


def written(folder: Path, count: int) -> dict[str, Any]:
    """By data set, its domain; their files are written into the folder."""
    gta5, cityscapes = folder / "GTA5", folder / "cityscapes"
    export_gta5(Noisy(Streets(frames=count).build("train"), (1052, 1914)), gta5)
    camera = Noisy(Streets(look="camera", frames=count).build("train"), (1024, 2048))
    export_cityscapes(camera, cityscapes, "train")
    return {
        "GTA5": GTA5(size=(720, 1280), root=gta5),
        "Cityscapes": Cityscapes(size=(512, 1024), root=cityscapes),
    }


def batches(way: str, data: FileDomainData, size: tuple[int, int], frames: Frames) -> tuple[Iterator[Any], Any]:
    """An endless loader, and what ends it."""
    if way == PILLOW:
        order = (list(batch) for batch in zip(*[cycle(range(len(data)))] * BATCH, strict=False))
        loader = iter(DataLoader(PillowPath(data, size), batch_sampler=order, num_workers=WORKERS))
        return loader, loader._shutdown_workers
    png.FAST = png.FAST and way != SLOW
    samples = Samples(data, size, CROP, True, 0, frames=frames if way == CACHED else None)
    loading = Loading(samples, EpochSampler(len(data), BATCH, 0), WORKERS)
    return loading, loading.close


def seconds_an_image(way: str, data: FileDomainData, size: tuple[int, int], frames: Frames, count: int) -> float:
    """Of `count` images, after what the workers make ahead."""
    fast = png.FAST
    loader, close = batches(way, data, size, frames)
    png.FAST = fast
    try:
        list(islice(loader, 2 * WORKERS))
        begin = time.perf_counter()
        list(islice(loader, count // BATCH))
        return (time.perf_counter() - begin) / (count // BATCH * BATCH)
    finally:
        close()


def parts(data: FileDomainData, size: tuple[int, int], frames: Frames, rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds that the processor takes for each part of one sample, in this process."""
    pillow, pipeline = PillowPath(data, size), CROP.build(size)
    pair, colors = data.pairs[0], Image.open(data.pairs[0].image).convert("RGB")
    image, label, small = data.image(0), data.label(0), np.asarray(colors.resize(size[::-1]))
    kept = frames.image(0), frames.label(0)
    ids, turn = np.zeros(size, np.uint8), iter(range(10**6))
    tried: dict[str, dict[str, Callable[[], object]]] = {
        PILLOW: {
            "image": lambda: Image.open(pair.image).convert("RGB"),
            "label": lambda: Image.open(pair.label).load(),
            "resizing": lambda: colors.resize(size[::-1], Image.Resampling.BICUBIC),
            "crop and changes": lambda: pillow.changed(small, ids),
        },
        PLAIN: {
            "image": lambda: data.image(0),
            "label": lambda: data.label(0),
            "crop, resizing and changes": lambda: augment(pipeline, image, label, next(turn)),
        },
        CACHED: {
            "image": lambda: frames.image(0),
            "label": lambda: frames.label(0),
            "crop and changes": lambda: augment(pipeline, *kept, next(turn)),
        },
    }
    return {
        way: {name: median_ms(work, rounds, time.process_time) for name, work in works.items()}
        for way, works in tried.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8, help="files of each data set (default 8)")
    parser.add_argument("--images", type=int, default=24, help="loaded by each way in a round (default 24)")
    parser.add_argument("--rounds", type=int, default=9, help="of all ways, in turn (default 9)")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = FrameCache(Path(folder) / "kept")
        opened = {}
        for name, domain in written(Path(folder), given.frames).items():
            data = domain.build("train")
            frames = cache.frames(data, domain, domain.size)
            assert frames is not None
            opened[name] = data, domain.size, frames
            for index in range(len(data)):
                frames.image(index), frames.label(index)
            megabytes = statistics.mean(pair.image.stat().st_size for pair in data.pairs) / 1e6
            rounds = [
                {way: seconds_an_image(way, data, domain.size, frames, given.images) for way in WAYS}
                for _ in range(given.rounds)
            ]
            found[name] = {"size": domain.size, "megabytes": megabytes, "seconds_an_image": rounds}
            found[name]["kept_megabytes"] = frames.bytes(True) / len(data) / 1e6
        keep_memory()  # as worker processes do
        for name, way in opened.items():
            found[name]["parts_ms"] = parts(*way, 4 * given.rounds)
    result = {"data": found, "images": given.images, "crop": CROP.crop, "workers": WORKERS, "batch": BATCH}
    result |= {"load": os.getloadavg()[0], **environment(torch.device("cpu"))}
    result["versions"] |= package_versions(("pillow", "isal", "pyspng"))
    write_json(RESULTS, result)
    print(table(json.loads(RESULTS.read_text())))


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return low, middle, high


def table(result: dict[str, Any]) -> str:
    """Markdown: speed of each way with its share of the Pillow path's time, and the parts of a sample."""
    versions = result["versions"]
    named = ", ".join(f"{package} {versions[package]}" for package in ("pillow", "isal", "pyspng"))
    count = len(next(iter(result["data"].values()))["seconds_an_image"])
    lines = [
        f"Medians (quartiles) of {count} rounds of {result['images']} images, all ways in turn; {result['workers']} "
        f"worker processes, batches of {result['batch']}, crops of {'x'.join(map(str, result['crop']))} with flips; "
        f"{named}. {result['device']}, 1-minute load of the machine {result['load']:.1f} on {result['cpus']} CPUs, "
        f"commit {short_commit(result['commit'])}.",
        "",
        "| data, brought to | way | images/s | time, of the Pillow path's |",
        "| --- | --- | ---: | ---: |",
    ]
    for name, data in result["data"].items():
        rounds = data["seconds_an_image"]
        size = "x".join(map(str, data["size"]))
        for way in WAYS:
            rates = _quartiles([1 / times[way] for times in rounds])
            shares = _quartiles([times[way] / times[PILLOW] for times in rounds])
            share = f"{shares[1]:.2f} ({shares[0]:.2f}–{shares[2]:.2f})" if way != PILLOW else "1"
            told = f"{rates[1]:.1f} ({rates[0]:.1f}–{rates[2]:.1f})"
            lines.append(f"| {name}, {data['megabytes']:.1f} MB a file, {size} | {way} | {told} | {share} |")
    lines += [
        "",
        "Milliseconds of the processor for one sample's parts:",
        "",
        "| data | way | parts |",
        "| --- | --- | --- |",
    ]
    for name, data in result["data"].items():
        for way, found in data["parts_ms"].items():
            told = ", ".join(f"{part} {value:.1f}" for part, value in found.items())
            lines.append(f"| {name} | {way} | {told} |")
    kept = " and ".join(f"{data['kept_megabytes']:.1f} MB ({name})" for name, data in result["data"].items())
    return "\n".join([*lines, "", f"A kept frame with its label takes {kept}."])


if __name__ == "__main__":
    exits_cleanly(main)
