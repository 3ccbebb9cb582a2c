"""A user's own data: a folder of images, a folder of labels, and a label table."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import RawClasses, class_names
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.label_setting import Labels, is_table, space_of
from da_toolkit.data.label_table import read_table
from da_toolkit.data.labels import LabelSpace
from da_toolkit.data.listing import images_in, paired
from da_toolkit.errors import UserError, unknown_name
from da_toolkit.registry import DOMAINS

_DEFAULT = "cityscapes19"


@DOMAINS.register(family="own")
@dataclass(frozen=True)
class Folder(Domain):
    """Own data: `<split>/images/` and, where there are any, `<split>/labels/` with single-channel ids (docs/data.md).

    Without a `table`, ids are the train ids of `ids` (or of `labels`), and 255 is ignored. A table is a JSON file:
    `{"classes": ["road", ...], "colors": [[128, 64, 128], ...], "ids": {"7": "road", "0": null}}`; `colors` may
    be left out, `null` means ignore. Leave `classes` out to map ids to class names of `labels`.
    """

    size: tuple[int, int] = (512, 1024)
    labels: Labels = ""
    """Classes to train and score, as of every domain; by default the table's own, or cityscapes19 without any."""
    root: Path | None = None
    """The folder; it must be set. Under --data-root a recipe's two Folders would silently be one."""
    table: Path | None = None
    """JSON label table."""
    ids: Labels = ""
    """Label space whose train ids the files hold, where no table says what its ids mean; by default `labels`."""

    def __post_init__(self) -> None:
        self._as_path("table")
        if self.table is None and not self.ids and is_table(self.labels) and read_table(Path(str(self.labels))).ids:
            # A table with ids says what the files hold, whichever of the two settings names it.
            object.__setattr__(self, "table", Path(str(self.labels)))
            object.__setattr__(self, "labels", "")
        if self.table is not None and self.ids:
            raise UserError("Folder: `table` and `ids` both say what the label files hold: leave one of them out.")
        super().__post_init__()  # reads the table, so that a wrong one is found when the recipe is built

    def content_digest(self) -> str:
        return hashlib.sha256(self.table.read_bytes()).hexdigest()[:16] if self.table is not None else ""

    @property
    def label_space(self) -> LabelSpace:
        return self._classes()[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        return class_names(self._classes()[1])

    def in_space(self, space: LabelSpace | str) -> Self:
        if self.table is None and not self.ids:  # what the files hold stays what it is
            return replace(self, labels=space, ids=self.labels or _DEFAULT)
        return replace(self, labels=space)

    def _classes(self) -> tuple[LabelSpace, RawClasses]:
        if self.table is None:
            held = space_of(self.ids or self.labels or _DEFAULT)
            return space_of(self.labels) if self.labels else held, {**dict(enumerate(held.classes)), 255: None}
        table = read_table(self.table)
        if table.ids is None:
            raise UserError(
                f'Folder: the label table {self.table} has no "ids": add what the ids in the label files mean, such as '
                '"ids": {"7": "road", "0": null}. If the files hold the train ids of its classes, set `ids` to it '
                "instead of `table`."
            )
        space = space_of(self.labels) if self.labels else table.space or space_of(_DEFAULT)
        if table.space is None:
            for raw, name in table.ids.items():
                if name is not None and space.place(name) is None:
                    told = unknown_name(f"class of {space.name}", name, space.classes)
                    raise UserError(f"Folder: the label table {self.table} cannot be used: the id {raw}: {told}")
        elif not self.labels:
            space_of(space)  # refuses a built-in space's name
        return space, table.ids

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
