"""A run's network as MLflow serves it: encoded pictures in, PNGs of train ids out. MLflow loads this file by its name.

`tracking/mlflow_store.py` logs the model with it, and its signature.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from da_toolkit.data.figures import as_png
from da_toolkit.data.pixels import colors_of
from da_toolkit.data.transforms import resized
from da_toolkit.errors import UserError
from da_toolkit.evaluation.predict import decide
from da_toolkit.runs.folder import load_network, load_recipe_of


class Served:
    """What MLflow's `pyfunc` calls.

    Args:
        folder: with a run's `recipe.json` and `model.safetensors`.
    """

    def __init__(self, folder: Path) -> None:
        self.recipe = load_recipe_of(folder)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = load_network(folder, self.recipe).to(self.device)

    def predict(self, rows: Any, params: dict[str, Any] | None = None) -> Any:
        """Of a data frame with a column `image` of encoded pictures (JPEG, PNG, ...), one with `train_ids`: PNG files
        of one channel at each picture's own resolution, as bytes.

        Raises:
            UserError: a row is no picture.
        """
        import pandas  # MLflow's own

        return pandas.DataFrame({"train_ids": [self._ids(content) for content in rows["image"]]})

    def _ids(self, content: bytes) -> bytes:
        from io import BytesIO

        try:
            with Image.open(BytesIO(content)) as picture:
                image = colors_of(picture)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"A row's `image` is no picture that can be read: {error}.") from error
        view, size = resized(image, self.recipe.evaluation_size), (image.shape[0], image.shape[1])
        classes: np.ndarray = decide(self.network, [view], self.recipe.evaluation, [size], self.device)[0].classes
        return as_png(classes)


def _load_pyfunc(path: str) -> Served:
    """What MLflow asks a loader module for."""
    return Served(Path(path))
