"""Class decisions on whole images at their own resolution."""

import numpy as np
import torch

from da_toolkit.data.transforms import resized
from da_toolkit.evaluation.evaluate import evaluating, to_input
from da_toolkit.evaluation.inference import Inference, predict
from da_toolkit.models.segmenter import Segmenter


@torch.inference_mode()
def predict_images(
    model: Segmenter, images: list[np.ndarray], settings: Inference, size: tuple[int, int], device: torch.device
) -> list[np.ndarray]:
    """Train ids uint8 [H,W] of RGB images at their own resolution.

    Args:
        size: (height, width) of the network's input, unless `settings.size` names another.
    """
    size = settings.size or size
    decided = []
    with evaluating(model):
        for image in images:
            batch = to_input(np.stack([resized(image, size)]), device)
            classes = predict(model, batch, settings, image.shape[:2])
            decided.append(classes[0].byte().cpu().numpy())
    return decided
