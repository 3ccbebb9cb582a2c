"""What a network says of one image, and the pictures that show it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from da_toolkit.data.figures import as_png, prediction_grid
from da_toolkit.data.labels import LabelSpace
from da_toolkit.errors import UserError

_SHOWN = 640
"""Pixels a tile of a notebook's picture is wide at most."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The classes of one image at its own resolution. A notebook shows it beside the image, with a legend."""

    classes: np.ndarray
    """uint8 [H,W], train ids of `space`."""
    space: LabelSpace
    image: np.ndarray | None = None
    """uint8 RGB [H,W,3] that was predicted."""
    ask: Callable[[], np.ndarray] | None = None
    """Gives `probabilities`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Class names; the train id is the place."""
        return self.space.classes

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """RGB colours 0..255 of the classes."""
        return self.space.palette

    @cached_property
    def probabilities(self) -> np.ndarray:
        """float32 [C,H,W], 0..1, sum 1 over the classes; `classes` is its argmax, up to rounding where two are alike.

        Computed when first asked for, by another pass of the network: 19 classes of 2048x1024 pixels take 160 MB.

        Raises:
            UserError: the prediction was not made by a run's `predict`.
        """
        if self.ask is None:
            raise UserError("This prediction holds classes alone: `load_run(...).predict(image)` gives probabilities.")
        return self.ask()

    @property
    def confidence(self) -> np.ndarray:
        """float32 [H,W]: the largest class probability, 1/C..1."""
        return np.asarray(self.probabilities.max(0))

    @property
    def entropy(self) -> np.ndarray:
        """float32 [H,W]: the probabilities' entropy over its largest value, 0 = sure .. 1 = all classes alike."""
        values = self.probabilities
        logs = np.log(values, out=np.zeros_like(values), where=values > 0)
        return np.asarray(-(values * logs).sum(0) / np.float32(np.log(max(2, len(values)))))

    def shares(self) -> dict[str, float]:
        """Percent of pixels by class name, of the classes that occur, the largest first."""
        counts = np.bincount(self.classes.ravel(), minlength=len(self.space))
        found = {self.names[i]: 100 * int(counts[i]) / self.classes.size for i in np.argsort(-counts) if counts[i]}
        return found

    def mask(self) -> np.ndarray:
        """uint8 RGB [H,W,3] in the classes' colours."""
        return self.space.colorize(self.classes)

    def overlay(self, image: np.ndarray | None = None) -> np.ndarray:
        """uint8 RGB [H,W,3]: the mask laid over its image uint8 RGB [H,W,3], half of each.

        Raises:
            UserError: there is no image, or it has another size.
        """
        image = self.image if image is None else image
        if image is None or image.shape != (*self.classes.shape, 3):
            what = "none was given" if image is None else f"this one has shape {image.shape}"
            height, width = self.classes.shape
            raise UserError(f"An overlay needs the image that was predicted, [{height},{width},3]; {what}.")
        return overlaid(image, self.mask())

    def _repr_png_(self) -> bytes:
        """For notebooks."""
        width = min(_SHOWN, max(160, self.classes.shape[1]))
        if self.image is None:
            return as_png(self.mask())
        return as_png(prediction_grid([self.image], {"prediction": [self.classes]}, self.space, width))


def overlaid(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Half of each of two pictures uint8 [H,W,3]."""
    return ((image.astype(np.uint16) + mask) // 2).astype(np.uint8)
