"""Mapillary Vistas 1.2 and 2.0 (Neuhold et al., ICCV 2017): the data's own config file says what ids mean."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from da_toolkit.data.domain import Domain
from da_toolkit.data.encodings import RawClasses
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.data.listing import first_folder, images_in, paired, unlabelled
from da_toolkit.data.mapillary_classes import IN_CITYSCAPES, WITHOUT_COUNTERPART
from da_toolkit.errors import UserError, unknown_name
from da_toolkit.notices import Notice
from da_toolkit.registry import DOMAINS

CONFIGS = {"1.2": ("config_v1.2.json", "config.json"), "2.0": ("config_v2.0.json",)}
"""Version -> what its config file may be called; the second is the older release's."""
FOLDERS = {"train": "training", "val": "validation", "test": "testing"}


@DOMAINS.register(family="real", paper="Neuhold et al., ICCV 2017")
@dataclass(frozen=True)
class MapillaryVistas(Domain):
    """Mapillary Vistas: `{training,validation,testing}/images/` and, but in testing, `v1.2/labels/` or `v2.0/labels/`.

    Label spaces meet its classes by Cityscapes' names or by its own, such as "construction--flat--bike-lane".
    """

    size: tuple[int, int] = (768, 1024)
    version: str = "1.2"
    """Of the labels: 1.2 (66 classes) or 2.0 (124)."""
    folder: ClassVar[str] = "mapillary_vistas"

    def __post_init__(self) -> None:
        if self.version not in CONFIGS:
            raise unknown_name("MapillaryVistas `version`", self.version, CONFIGS)
        super().__post_init__()

    @property
    def class_names(self) -> tuple[str, ...]:
        return (*CITYSCAPES19.classes, *IN_CITYSCAPES, *WITHOUT_COUNTERPART)

    def build(self, split: str, data_root: Path | None = None) -> FileDomainData:
        if split not in FOLDERS:
            raise unknown_name("split of MapillaryVistas", split, FOLDERS)
        root, place, name = self.locate(data_root), FOLDERS[split], f"MapillaryVistas {split}"
        folder, space, ids = root / place / "images", self.label_space, self._ids(root)
        images = images_in(folder, name)
        if split == "test":
            found = unlabelled(images, folder)
        else:
            # Version 1.2 was published with its labels in `labels/`; of 2.0, that would be another version's.
            older = (f"{place}/labels",) if self.version == "1.2" else ()
            labels = first_folder(root, f"{place}/v{self.version}/labels", *older)
            found = paired(images, folder, labels, name, needed=split == "val")
        return FileDomainData(
            f"MapillaryVistas-{self.version}", split, found.pairs, ids, space, unlabelled=found.unlabelled
        )

    def _ids(self, root: Path) -> RawClasses:
        """Each id's name where the label space knows it, else its counterpart in Cityscapes' names, else its name."""
        file = next((root / name for name in CONFIGS[self.version] if (root / name).is_file()), None)
        if file is None:
            raise UserError(
                f"MapillaryVistas: {root} has no {' or '.join(CONFIGS[self.version])}, which says what the ids of "
                f"version {self.version} mean. Put it there from the data set's archive, or set `version` to the one "
                "that you have."
            )
        names = _names(file)
        if new := [name for name in names if name not in IN_CITYSCAPES and name not in WITHOUT_COUNTERPART]:
            warnings.warn(
                f"MapillaryVistas: {file} has {len(new)} classes that are not known here and are ignored where the "
                f"label space does not name them: {', '.join(new[:5])}",
                category=Notice,
                stacklevel=3,
            )
        known = self.label_space.place
        return {
            raw: name if known(name) is not None else IN_CITYSCAPES.get(name, name) for raw, name in enumerate(names)
        }


def _names(file: Path) -> list[str]:
    """The classes of a config file, in the order of their ids. Raises `UserError` for another kind of file."""
    try:
        names = [entry["name"] for entry in json.loads(file.read_bytes())["labels"]]
        if not 0 < len(names) <= 256 or not all(isinstance(name, str) for name in names):
            raise ValueError("its labels are no list of 1 to 256 named classes")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f"MapillaryVistas: {file} cannot be used ({type(error).__name__}: {error}): it must be the data set's "
            'config file, with {"labels": [{"name": "animal--bird", ...}, ...]}. Copy it again from the archive.'
        ) from error
    return names
