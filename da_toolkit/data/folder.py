"""A user's own data: a folder of images, a folder of labels, and a label table."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import RawClasses
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.labels import LabelSpace, label_space
from da_toolkit.data.listing import images_in, paired
from da_toolkit.errors import UserError
from da_toolkit.registry import DOMAINS


@DOMAINS.register(family="own")
@dataclass(frozen=True)
class Folder(Domain):
    """Own data: `<split>/images/` and, where there are any, `<split>/labels/` with single-channel ids (docs/data.md).

    Without a `table`, ids are the train ids of `labels`, and 255 is ignored. A table is a JSON file:
    `{"classes": ["road", ...], "colors": [[128, 64, 128], ...], "ids": {"7": "road", "0": null}}`; `colors` may
    be left out, `null` means ignore. Leave `classes` out to map ids to class names of `labels`.
    """

    size: tuple[int, int] = (512, 1024)
    root: Path | None = None
    """The folder; it must be set. Under --data-root a recipe's two Folders would silently be one."""
    table: Path | None = None
    """JSON label table."""

    def __post_init__(self) -> None:
        self._as_path("table")
        super().__post_init__()
        self._classes()  # so that a wrong table is found when the recipe is built

    @property
    def label_space(self) -> LabelSpace:
        return self._classes()[0]

    def _classes(self) -> tuple[LabelSpace, RawClasses]:
        space = label_space(self.labels)
        if self.table is None:
            return space, {**dict(enumerate(space.classes)), 255: None}
        try:
            table = json.loads(Path(self.table).read_text(encoding="utf-8"))
            ids: RawClasses = {int(raw): name for raw, name in table["ids"].items()}
            if "classes" in table:
                names = tuple(table["classes"])
                colors = table.get("colors") or [_color(number) for number in range(len(names))]
                space = LabelSpace(Path(self.table).stem, names, tuple((int(r), int(g), int(b)) for r, g, b in colors))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise UserError(
                f"Folder: the label table {self.table} cannot be used ({type(error).__name__}: {error}). It must be a "
                'JSON file such as {"classes": ["road"], "ids": {"7": "road", "0": null}}.'
            ) from error
        wrong = _wrong(space, ids)
        if wrong:
            raise UserError(
                f"Folder: the label table {self.table} must map ids 0..65535 to names in its classes, with one colour "
                f"0..255 a class; {wrong}. Classes: {', '.join(map(str, space.classes))}."
            )
        return space, ids

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        if self.root is None:
            raise UserError("Folder: set `root`, its folder; --data-root is not looked at.")
        if not os.path.isdir(self.root):
            raise UserError(
                f"Folder: the folder {self.root} does not exist. Set `root` to the one with {split}/images."
            )
        root = self.root / split
        if not os.path.isdir(root / "images"):
            raise UserError(
                f"Folder: there is no folder {root / 'images'}. Put the {split} images there, or set `root` to the "
                f"folder that has {split}/images."
            )
        images = images_in(root / "images", f"Folder {split}")
        found = paired(images, root / "images", root / "labels", f"Folder {split}", needed=split != "train")
        space, ids = self._classes()
        return FileDomainData("Folder", split, found.pairs, ids, space, unlabelled=found.unlabelled)


def _wrong(space: LabelSpace, ids: RawClasses) -> str:
    """What is wrong with a table, or nothing."""
    if not 1 <= len(space) <= 255 or not all(isinstance(name, str) and name for name in space.classes):
        return "its classes are not 1 to 255 names"
    if len(set(space.classes)) < len(space):
        return "a class stands there twice"
    strange = sorted({str(name) for name in ids.values() if name is not None and name not in space.classes})
    if strange:
        return f"not in the classes: {', '.join(strange)}"
    if not all(0 <= raw < 65536 for raw in ids):
        return "an id is out of range"
    if len(space.palette) != len(space) or not all(0 <= part <= 255 for color in space.palette for part in color):
        return "the colours do not fit"
    return ""


def _color(number: int) -> tuple[int, int, int]:
    """A colour for class `number`, far from its neighbours'."""
    return (37 * number + 64) % 256, (97 * number + 128) % 256, (167 * number + 32) % 256
