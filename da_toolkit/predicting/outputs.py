"""What `predict` writes of an image: which files, whole or not at all, and which of them are there already."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from da_toolkit.data.figures import as_png
from da_toolkit.data.labels import LabelSpace
from da_toolkit.data.listing import PREDICTED
from da_toolkit.errors import UserError
from da_toolkit.evaluation.predict import Decision
from da_toolkit.evaluation.prediction import overlaid
from da_toolkit.files import write_json, write_whole
from da_toolkit.predicting.servers import SERVERS

Kind = Literal["masks", "overlays", "train_ids", "confidence", "entropy", "cityscapes", "bdd100k", "acdc"]
KINDS: tuple[Kind, ...] = (
    *("masks", "overlays", "train_ids", "confidence", "entropy"),
    *("cityscapes", "bdd100k", "acdc"),
)
"""Every kind of file; each has a folder of its name."""
SETTING = "--output"


@dataclass
class Outputs:
    """The files of some kinds below a folder.

    Raises:
        UserError: a test server's ids are asked for, and the run's classes have none.
    """

    folder: Path
    kinds: Sequence[Kind]
    space: LabelSpace
    overwrite: bool = False
    resized: list[Kind] = field(default_factory=list)
    """The kind of each file that was brought to its test server's size."""

    def __post_init__(self) -> None:
        self._tables = {kind: SERVERS[kind].table(self.space) for kind in self.kinds if kind in SERVERS}

    @property
    def certainty(self) -> bool:
        """Whether confidence or entropy is asked for."""
        return not {"confidence", "entropy"}.isdisjoint(self.kinds)

    def files(self, name: str) -> dict[Kind, Path]:
        """Where an image's files go; a test server's all into one folder."""
        last = Path(name).name
        return {kind: self.folder / kind / f"{last if kind in SERVERS else name}.png" for kind in self.kinds}

    def wanted(self, name: str) -> dict[Kind, Path]:
        """The files that are still to be written. They appear whole, so one that is there is complete."""
        files = self.files(name)
        return files if self.overwrite else {kind: file for kind, file in files.items() if not file.exists()}

    def write(self, wanted: dict[Kind, Path], image: np.ndarray, decision: Decision) -> None:
        """Write an image's files. Raises `UserError` naming the folder if the disk refuses."""
        for kind, file in wanted.items():
            write_whole(file, as_png(self._picture(kind, image, decision)), SETTING)

    def _picture(self, kind: Kind, image: np.ndarray, decision: Decision) -> np.ndarray:
        if kind in SERVERS:
            if decision.classes.shape != SERVERS[kind].size:
                self.resized.append(kind)
            return SERVERS[kind].encoded(decision.classes, self._tables[kind])
        draw: dict[Kind, Callable[[], np.ndarray]] = {
            "masks": lambda: self.space.colorize(decision.classes),
            "overlays": lambda: overlaid(image, self.space.colorize(decision.classes)),
            "train_ids": lambda: decision.classes,
            "confidence": lambda: _grey(decision.confidence),
            "entropy": lambda: _grey(decision.entropy),
        }
        return draw[kind]()

    def claim(self, told: dict[str, Any]) -> None:
        """Keep in `predictions.json` what made the files, so that no folder holds those of two runs.

        Raises:
            UserError: files of another run, or of other settings, are there and would be kept.
        """
        file = self.folder / PREDICTED
        told = json.loads(json.dumps(told))  # tuples are lists there
        try:
            before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else told
        except (OSError, ValueError) as error:
            raise UserError(f"{file} is damaged ({error}). Remove it, or set --output to another folder.") from error
        if before != told and not self.overwrite:
            changed = [name for name in told if not isinstance(before, dict) or before.get(name) != told[name]]
            raise UserError(
                f"The folder {self.folder} holds predictions made with another {' and '.join(changed) or 'setting'}, "
                "which would be mixed with new ones. Set --output to another folder, or pass --overwrite."
            )
        write_json(file, told, SETTING)


def _grey(values: np.ndarray | None) -> np.ndarray:
    """float [H,W] 0..1 -> uint8 0..255."""
    assert values is not None  # of `Outputs.certainty`
    return np.rint(values * 255).astype(np.uint8)
