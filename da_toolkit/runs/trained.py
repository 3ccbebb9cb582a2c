"""A finished run, ready to be used: its recipe, its scores, and its network for images of one's own."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from da_toolkit.data.labels import LabelSpace
from da_toolkit.data.pixels import colors_of, read_image
from da_toolkit.data.transforms import resized
from da_toolkit.errors import UserError
from da_toolkit.evaluation.predict import decide, image_probabilities
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

    def predict(self, image: str | Path | Image.Image | np.ndarray | Tensor) -> Prediction:
        """The classes of an image at its own resolution; the network sees it as the recipe's evaluation does.

        Args:
            image: a file, a Pillow image, a uint8 RGB array [H,W,3] (OpenCV reads BGR: reverse its channels), or an RGB
                tensor [3,H,W], uint8 0..255 or floating-point 0..1.

        Raises:
            UserError: an unreadable file, or an array or tensor of another kind.
        """
        settings, colors = self.recipe.evaluation, as_rgb(image)
        view, size = resized(colors, self.recipe.evaluation_size), (colors.shape[0], colors.shape[1])
        decided = decide(self.network, [view], settings, [size], self.device)[0]
        return Prediction(
            decided.classes,
            self.label_space,
            colors,
            lambda: image_probabilities(self.network, view, settings, size, self.device),
        )


def as_rgb(image: str | Path | Image.Image | np.ndarray | Tensor) -> np.ndarray:
    """uint8 RGB [H,W,3] of whatever `predict` takes."""
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return colors_of(image)
    if isinstance(image, Tensor):
        return _of_tensor(image)
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or 0 in image.shape
    ):
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(
            "An image to predict is a file, a Pillow image, a uint8 RGB array [H,W,3] or an RGB tensor [3,H,W]; got "
            f"{what}."
        )
    return image


def _of_tensor(image: Tensor) -> np.ndarray:
    told = f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise UserError(f"A tensor to predict is one RGB image [3,H,W], its channels first; got {told}.")
    image = image.detach().cpu()
    if image.is_floating_point():
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):  # also for NaN
            raise UserError(
                f"A floating-point tensor to predict holds 0..1; got {low:g} to {high:g}. Leave normalisation to the "
                "network, or give uint8."
            )
        image = (image.float() * 255).round().byte()
    if image.dtype != torch.uint8:
        raise UserError(f"A tensor to predict is uint8 0..255 or floating-point 0..1; got {told}.")
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())
