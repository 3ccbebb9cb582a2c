"""A finished run, ready to be used: its recipe, its scores, and its network for images of one's own."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from da_toolkit.data.labels import LabelSpace
from da_toolkit.data.pixels import colors_of, read_image
from da_toolkit.errors import UserError
from da_toolkit.evaluation.predict import predict_images
from da_toolkit.evaluation.prediction import Prediction
from da_toolkit.models.segmenter import Segmenter
from da_toolkit.recipe.recipe import Recipe
from da_toolkit.report.runs import read_run
from da_toolkit.runs.folder import load_network, load_recipe_of


class TrainedRun:
    """A run read back from its folder, such as runs/adaptseg_gta/0.

    Args:
        folder: RUNS/RECIPE/SEED of a finished run.
        best: use `best.safetensors`, the weights that the run's --best chose, instead of the last ones.

    Raises:
        UserError: no finished run lies there, or a file of it is damaged.
    """

    def __init__(self, folder: str | Path, best: bool = False) -> None:
        self.folder = Path(folder)
        self.weights = "best.safetensors" if best else "model.safetensors"
        self.result: dict[str, Any] = read_run(self.folder).result
        if best and not (self.folder / self.weights).exists():
            raise UserError(f"{self.folder} keeps no best weights: the run's --best found none. Leave `best` out.")
        self.recipe: Recipe = load_recipe_of(self.folder)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def label_space(self) -> LabelSpace:
        """The classes that the network decides between."""
        return self.recipe.target.label_space

    @cached_property
    def network(self) -> Segmenter:
        """With the run's weights, on the GPU if there is one; loaded when first asked for."""
        network = load_network(self.folder, self.recipe, self.weights)
        return network.to(self.device).to(memory_format=torch.channels_last)

    def predict(self, image: str | Path | Image.Image | np.ndarray) -> Prediction:
        """The classes of an image at its own resolution; the network sees it as the recipe's evaluation does.

        Args:
            image: a file, a Pillow image, or uint8 RGB [H,W,3].

        Raises:
            UserError: an unreadable file, or an array of another kind.
        """
        settings, size = self.recipe.evaluation, self.recipe.target.size
        decided = predict_images(self.network, [as_rgb(image)], settings, size, self.device)
        return Prediction(decided[0], self.label_space)


def as_rgb(image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
    """uint8 RGB [H,W,3] of whatever `predict` takes."""
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return colors_of(image)
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or 0 in image.shape
    ):
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(f"An image to predict is a file, a Pillow image or a uint8 RGB array [H,W,3]; got {what}.")
    return image
