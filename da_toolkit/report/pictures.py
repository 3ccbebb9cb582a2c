"""Pictures of runs as a page needs them: one scene an image, each file embedded once."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from da_toolkit.errors import UserError
from da_toolkit.report.runs import Run


@dataclass
class Album:
    """Scenes with what each run predicts on them; equal files share one entry of `files`."""

    files: list[str] = field(default_factory=list)
    """data: URLs."""
    scenes: list[dict[str, Any]] = field(default_factory=list)
    """{"views": {title: place in `files`}}: "image", "label", then the runs that saw the image."""


def collect(runs: Mapping[str, Run]) -> Album:
    """The pictures of runs, by title. Raises `UserError` for a file that cannot be read."""
    album, places = Album(), {}

    def place(file: Path) -> int:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}).") from error
        digest = hashlib.sha256(content).digest()
        if digest not in places:
            places[digest] = len(album.files)
            kind = "jpeg" if file.suffix == ".jpg" else "png"
            album.files.append(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")
        return places[digest]

    album.scenes = scenes_of({title: run.pictures() for title, run in runs.items()}, place)
    return album


def scenes_of(pictures: Mapping[str, Mapping[int, Mapping[str, Path]]], place: Callable[[Path], int]) -> list[Any]:
    """The scenes of an album.

    Args:
        pictures: title of a run -> what `kept_pictures` finds in its folder.
        place: where a file stands among the album's; the same for equal files, by which runs share a scene.
    """
    scenes: dict[tuple[int, int], dict[str, Any]] = {}
    for title, found in pictures.items():
        for files in found.values():
            image, label = place(files["image"]), place(files["label"])
            scene = scenes.setdefault((image, label), {"views": {"image": image, "label": label}})
            scene["views"][title] = place(files["prediction"])
    return list(scenes.values())
