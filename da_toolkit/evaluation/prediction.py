"""What a network says of one image, and the pictures that show it."""

from dataclasses import dataclass

import numpy as np

from da_toolkit.data.labels import LabelSpace


@dataclass(frozen=True)
class Prediction:
    """The classes of one image at its own resolution."""

    classes: np.ndarray
    """uint8 [H,W], train ids of `space`."""
    space: LabelSpace

    @property
    def names(self) -> tuple[str, ...]:
        """Class names; the train id is the place."""
        return self.space.classes

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """RGB colours 0..255 of the classes."""
        return self.space.palette

    def shares(self) -> dict[str, float]:
        """Percent of pixels by class name, of the classes that occur, the largest first."""
        counts = np.bincount(self.classes.ravel(), minlength=len(self.space))
        found = {self.names[i]: 100 * int(counts[i]) / self.classes.size for i in np.argsort(-counts) if counts[i]}
        return found

    def mask(self) -> np.ndarray:
        """uint8 RGB [H,W,3] in the classes' colours."""
        return self.space.colorize(self.classes)

    def overlay(self, image: np.ndarray) -> np.ndarray:
        """uint8 RGB [H,W,3]: the mask laid over its image uint8 RGB [H,W,3], half of each."""
        return ((image.astype(np.uint16) + self.mask()) // 2).astype(np.uint8)
