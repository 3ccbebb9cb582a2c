"""Class decisions on whole images at their own resolution, and how sure the network is of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from da_toolkit.data.transforms import resized
from da_toolkit.evaluation.deciding import decided
from da_toolkit.evaluation.evaluate import evaluating, to_input
from da_toolkit.evaluation.inference import Inference, score_bands
from da_toolkit.models.segmenter import Segmenter


@dataclass(frozen=True)
class Decision:
    """What is decided of one image, at its own resolution."""

    classes: np.ndarray
    """uint8 [H,W], train ids."""
    confidence: np.ndarray | None = None
    """float32 [H,W], 0..1, if it was asked for: see `confidence`."""
    entropy: np.ndarray | None = None
    """float32 [H,W], 0..1, likewise: see `entropy`."""


def confidence(probabilities: Tensor) -> Tensor:
    """[C,H,W] -> [H,W]: the largest class probability, 1/C..1."""
    return probabilities.amax(0)


def entropy(probabilities: Tensor) -> Tensor:
    """[C,H,W] -> [H,W]: Shannon's entropy over its largest value, log C, so 0 = sure .. 1 = all classes alike.

    The normalised entropy of AdvEnt (Vu et al., CVPR 2019, equation 2).
    """
    most = torch.tensor(max(2, len(probabilities)), device=probabilities.device).log()
    return torch.special.entr(probabilities).sum(0) / most


@torch.inference_mode()
def decide(
    model: Segmenter,
    views: Sequence[np.ndarray],
    settings: Inference,
    sizes: Sequence[tuple[int, int]],
    device: torch.device,
    certainty: bool = False,
) -> list[Decision]:
    """Decide a batch of images.

    Args:
        views: uint8 RGB [h,w,3], the images as the network sees them, all of one size.
        sizes: (height, width) at which each is decided.
        certainty: also tell confidence and entropy.
    """
    classes = [np.empty(size, np.uint8) for size in sizes]
    sure = [np.empty(size, np.float32) for size in sizes] if certainty else []
    unsure = [np.empty(size, np.float32) for size in sizes] if certainty else []
    with evaluating(model):
        batch = to_input(np.stack(views), device)
        for place, rows, scores in score_bands(model, batch, settings, sizes, certainty):
            classes[place][rows] = decided(scores[None])[0].cpu().numpy()
            if certainty:
                sure[place][rows] = confidence(scores).cpu().numpy()
                unsure[place][rows] = entropy(scores).cpu().numpy()
    if not certainty:
        return [Decision(found) for found in classes]
    return [Decision(*found) for found in zip(classes, sure, unsure, strict=True)]


def predict_images(
    model: Segmenter, images: list[np.ndarray], settings: Inference, size: tuple[int, int], device: torch.device
) -> list[np.ndarray]:
    """Train ids uint8 [H,W] of RGB images at their own resolution.

    Args:
        size: (height, width) of the network's input, unless `settings.size` names another.
    """
    size = settings.size or size
    return [decide(model, [resized(image, size)], settings, [image.shape[:2]], device)[0].classes for image in images]


@torch.inference_mode()
def image_probabilities(
    model: Segmenter, view: np.ndarray, settings: Inference, size: tuple[int, int], device: torch.device
) -> np.ndarray:
    """Class probabilities float32 [C,*size] of one image; arguments as of `decide`."""
    found = np.empty((model.num_classes, *size), np.float32)
    with evaluating(model):
        for _, rows, scores in score_bands(model, to_input(view[None], device), settings, [size], True):
            found[:, rows] = scores.cpu().numpy()
    return found


def at_own_size(settings: Inference, size: tuple[int, int]) -> Inference:
    """The same settings for images at their own resolution: a window of what the network would see of them otherwise.

    Args:
        size: (height, width) of the network's input, unless `settings.size` names another.
    """
    return replace(settings, size=None, window=settings.window or settings.size or size)
