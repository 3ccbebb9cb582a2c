"""Pictures of runs as a page needs them: one scene an image, each file embedded once."""

import base64
import hashlib
from collections.abc import Mapping
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
    album, places, scenes = Album(), {}, {}

    def place(file: Path, kind: str) -> int:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}).") from error
        digest = hashlib.sha256(content).digest()
        if digest not in places:
            places[digest] = len(album.files)
            album.files.append(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")
        return places[digest]

    for title, run in runs.items():
        for files in run.pictures().values():
            image, label = place(files["image"], "jpeg"), place(files["label"], "png")
            if (image, label) not in scenes:
                scenes[image, label] = {"views": {"image": image, "label": label}}
                album.scenes.append(scenes[image, label])
            scenes[image, label]["views"][title] = place(files["prediction"], "png")
    return album
