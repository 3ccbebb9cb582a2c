"""Edges of a picture and borders of a label at a small size, and how well they lie on each other."""

import cv2
import numpy as np

WIDTH = 128
"""Pixels: finer edges are noise, coarser ones miss poles."""
_STRONGEST = 95
"""Percentile above which edges count alike: one lamp must not outweigh a street."""


def small(picture: np.ndarray, interpolation: int) -> np.ndarray:
    """A picture or label at the size at which outlines are compared."""
    height = max(8, round(WIDTH * picture.shape[0] / picture.shape[1]))
    return cv2.resize(picture, (WIDTH, height), interpolation=interpolation)


def picture_outline(image: np.ndarray) -> np.ndarray:
    """float32 [h,128] strength of edges in Lab colours of RGB [H,W,3], of mean 0 and deviation 1."""
    lab = small(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), cv2.INTER_AREA).astype(np.float32)
    strength = np.zeros(lab.shape[:2], np.float32)
    for channel in cv2.split(lab):
        strength += cv2.Sobel(channel, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(channel, cv2.CV_32F, 0, 1) ** 2
    strength = np.sqrt(strength)
    return _normal(np.minimum(strength, np.percentile(strength, _STRONGEST)))


def label_outline(label: np.ndarray) -> np.ndarray:
    """float32 [h,128] borders between train ids [H,W], ignored pixels included, of mean 0 and deviation 1."""
    ids = small(label, cv2.INTER_NEAREST)
    borders = np.zeros(ids.shape, np.float32)
    for here, there in (((slice(1, None), ...), (slice(-1), ...)), ((..., slice(1, None)), (..., slice(-1)))):
        differs = ids[here] != ids[there]
        borders[here] += differs
        borders[there] += differs
    return _normal(np.minimum(borders, 1))


def agreement(picture: np.ndarray, label: np.ndarray) -> float:
    """Correlation -1..1 of two outlines; 0 where their shapes differ."""
    return float((picture * label).mean()) if picture.shape == label.shape else 0.0


def agreement_by_shift(picture: np.ndarray, label: np.ndarray) -> np.ndarray:
    """[h,128]: at (y, x) the correlation with the label's outline moved down by y and right by x, around the edge."""
    return np.fft.irfft2(np.fft.rfft2(picture) * np.conj(np.fft.rfft2(label)), picture.shape) / picture.size


def _normal(values: np.ndarray) -> np.ndarray:
    values = values - values.mean()
    deviation = float(values.std())
    return values / deviation if deviation > 1e-6 else np.zeros_like(values)
