"""A folder of one's own photographs without any label, and a labelled domain that stands in where a run is scored."""

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from da_toolkit.data.domain import Domain, DomainData
from da_toolkit.data.files import FileDomainData
from da_toolkit.data.label_setting import Labels
from da_toolkit.data.listing import images_in, unlabelled
from da_toolkit.data.streets import Streets
from da_toolkit.errors import UserError, unknown_name
from da_toolkit.notices import Notice
from da_toolkit.registry import DOMAINS


@DOMAINS.register(family="own")
@dataclass(frozen=True)
class Photographs(Domain):
    """Own images without labels, at any depth of one folder; scores are of another domain's val, and say so.

    As soon as some of them are labelled, `Folder` scores on those.
    """

    size: tuple[int, int] = (512, 1024)
    labels: Labels = "cityscapes19"
    root: Path | None = None
    """The folder of images; it must be set."""
    stand_in: Domain = field(default_factory=Streets)
    """The domain whose labelled val stands in for the val that unlabelled images do not have."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.stand_in, Photographs):
            raise UserError("Photographs: `stand_in` must be a domain with labels, such as Streets().")

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.stand_in.class_names

    def build(self, split: str, data_root: Path | None = None) -> DomainData:
        if split not in ("train", "val"):
            raise unknown_name("split of Photographs", split, ("train", "val"))
        if split == "val":
            name = type(self.stand_in).__name__
            warnings.warn(
                f"Photographs have no labels: scores are of {name} val, which stands in, and say little of your "
                "images. Look at their pictures, and at the label-free scores of the evaluations.",
                category=Notice,
                stacklevel=2,
            )
            return self.stand_in.in_space(self.labels).build("val", data_root)
        if self.root is None:
            raise UserError("Photographs: set `root`, the folder of your images; --data-root is not looked at.")
        if not os.path.isdir(self.root):
            raise UserError(
                f"Photographs: the folder {self.root} does not exist. Set `root` to the one with your images; relative "
                "paths start where the command is given."
            )
        found = unlabelled(images_in(self.root, "Photographs"), self.root, why="Photographs have no labels.")
        return FileDomainData("Photographs", split, found.pairs, {}, self.label_space, unlabelled=found.unlabelled)
