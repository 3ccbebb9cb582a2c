"""Class decisions on whole images at their own resolution, as a recipe evaluates them."""

import numpy as np
import torch

from da_toolkit.data.transforms import resized
from da_toolkit.evaluation.evaluate import evaluating, to_input
from da_toolkit.evaluation.inference import predict
from da_toolkit.models.segmenter import Segmenter
from da_toolkit.recipe import Recipe


@torch.inference_mode()
def predict_images(
    model: Segmenter, images: list[np.ndarray], recipe: Recipe, device: torch.device
) -> list[np.ndarray]:
    """Train ids uint8 [H,W] of RGB images at their own resolution."""
    size = recipe.evaluation_size
    decided = []
    with evaluating(model):
        for image in images:
            batch = to_input(np.stack([resized(image, size)]), device)
            classes = predict(model, batch, recipe.evaluation, image.shape[:2])
            decided.append(classes[0].byte().cpu().numpy())
    return decided
