"""What the test servers of Cityscapes, BDD100K and ACDC take: ids, size and names of PNG files."""

from dataclasses import dataclass

import numpy as np

from da_toolkit.data.encodings import CITYSCAPES_ID_TO_TRAIN
from da_toolkit.data.labels import CITYSCAPES19, LabelSpace
from da_toolkit.data.transforms import resized_label
from da_toolkit.errors import UserError

_LABEL_IDS = {train: raw for raw, train in CITYSCAPES_ID_TO_TRAIN.items()}
_TRAIN_IDS = {train: train for train in _LABEL_IDS}


@dataclass(frozen=True)
class TestServer:
    """A benchmark whose test labels are secret. Files are called as their images and lie in one folder."""

    name: str
    ids: dict[int, int]
    """Train id of cityscapes19 -> id in the file."""
    size: tuple[int, int]
    """Height and width of the files."""

    def table(self, space: LabelSpace) -> np.ndarray:
        """uint8 [256]: train id in `space` -> id in the file.

        Raises:
            UserError: a class of `space` is none of Cityscapes'.
        """
        table = np.zeros(256, np.uint8)
        unknown = [name for name in space.classes if CITYSCAPES19.place(name) is None]
        if unknown:
            raise UserError(
                f"--write {self.name}: the test server scores the classes of cityscapes19, and the run decides between "
                f"those of {space.name}, of which it has no {', '.join(unknown)}. Predict with a run of cityscapes19 "
                "or synthia16, or leave it out."
            )
        for train, name in enumerate(space.classes):
            place = CITYSCAPES19.place(name)
            assert place is not None
            table[train] = self.ids[place]
        return table

    def encoded(self, classes: np.ndarray, table: np.ndarray) -> np.ndarray:
        """Ids uint8 [*size] of train ids [H,W]; brought to the server's size by nearest neighbour."""
        ids = table[classes]
        return ids if ids.shape == self.size else resized_label(ids, self.size)


SERVERS = {
    server.name: server
    for server in (
        TestServer("cityscapes", _LABEL_IDS, (1024, 2048)),
        TestServer("bdd100k", _TRAIN_IDS, (720, 1280)),
        TestServer("acdc", _TRAIN_IDS, (1080, 1920)),
    )
}
"""Cityscapes wants its label ids (7 = road, as its evalPixelLevelSemanticLabeling reads them), BDD100K and ACDC train
ids (0 = road)."""
