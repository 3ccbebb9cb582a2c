"""What is made of several runs: curves in one picture, and one album of their predictions."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from da_toolkit.report.curves import Curve, curve_svg
from da_toolkit.report.pictures import scenes_of
from da_toolkit.report.table import ORACLE, SOURCE_ONLY
from da_toolkit.viewing.look import Look
from da_toolkit.viewing.metrics import Kind, thinned
from da_toolkit.viewing.pictures import predictions_of, versioned

TITLES: dict[Kind, str] = {
    "score": "Scores",
    "loss": "Losses",
    "knowledge": "What terms know as a stage begins",
    "other": "Speed and decisions",
}
_UNITS = {"images_per_second": "images/s", "target_top_class": "percent of target pixels in the commonest class"}


def curves_of(runs: Mapping[str, Look]) -> list[dict[str, Any]]:
    """Groups of pictures, {"title": ..., "pictures": [{"name": ..., "svg": ...}]}: one a number that two reports of a
    run have; line NUMBER belongs to run NUMBER."""
    groups = []
    for kind, title in TITLES.items():
        names = dict.fromkeys(name for look in runs.values() for name in look.metrics.curves.get(kind, {}))
        pictures = []
        for name in names:
            lines = [
                Curve(look.label, (tuple(thinned(look.metrics.curves.get(kind, {}).get(name, []))),))
                for look in runs.values()
            ]
            told = _told(name)
            if svg := curve_svg(lines, told, ".1f" if name.startswith("miou_") else ".4g"):
                pictures.append({"name": told, "svg": svg})
        if pictures:
            groups.append({"title": title, "pictures": pictures})
    return groups


def _told(name: str) -> str:
    if name.startswith("miou_"):
        return f"mIoU in percent, {name[5:]}"
    if name.startswith("validator_"):
        return f"{name[10:].replace('_', ' ')} (without target labels)"
    return _UNITS.get(name, name)


def album_of(runs: Mapping[str, Look]) -> dict[str, Any]:
    """Scenes with image, label, and what each run decides and where it errs; runs that saw an image share its scene."""
    files: list[str] = []
    places: dict[str, int] = {}
    kept, digests, addresses = {}, dict[Path, str](), dict[Path, str]()
    for key, look in runs.items():
        kept[look.label] = predictions_of(look.folder)
        for number in list(kept[look.label]):
            try:
                for file in kept[look.label][number].values():
                    digests[file] = _digest(file, file.stat().st_mtime_ns)
                    addresses[file] = versioned(f"runs/{key}/predictions/{file.name}", file)
            except OSError:  # it has vanished, or cannot be read
                del kept[look.label][number]

    def place(file: Path) -> int:
        if digests[file] not in places:
            places[digests[file]] = len(files)
            files.append(addresses[file])
        return places[digests[file]]

    scenes = scenes_of(kept, place)
    by_pair = {(scene["views"]["image"], scene["views"]["label"]): scene for scene in scenes}
    for key, look in runs.items():
        for number, pictures in kept[look.label].items():
            views = by_pair[place(pictures["image"]), place(pictures["label"])]["views"]
            views[f"errors of {look.label}"] = len(files)
            files.append(versioned(f"runs/{key}/errors/{number}.png", pictures["prediction"]))
    return {"files": files, "scenes": scenes, **_first_pair(runs, kept)}


@lru_cache(maxsize=4096)
def _digest(file: Path, time: int) -> str:
    """Of the content that a file had at a time."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _first_pair(runs: Mapping[str, Look], kept: Mapping[str, Any]) -> dict[str, str]:
    """What the slider opens with: source-only training, or else the image, against another run."""
    shown = [look for look in runs.values() if kept[look.label]]
    plain = next((look.label for look in shown if look.method == SOURCE_ONLY), "image")
    others = [look.label for look in shown if look.label != plain and look.method != ORACLE]
    return {"left": plain, "right": others[0] if others else "label"}
