"""Scores of a network that need no target labels; of each, higher should mean a better network."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.data.domain import DomainData
from da_toolkit.data.style import match_lab_statistics
from da_toolkit.data.transforms import resized
from da_toolkit.evaluation.deciding import decided
from da_toolkit.evaluation.evaluate import evaluating, to_input
from da_toolkit.evaluation.metrics import image_confusions, iou
from da_toolkit.models.teacher import Teacher

MOMENTUM = 0.99
_POSITIONS = 512  # of an image in its soft neighbourhood density


def certainty(probabilities: Tensor) -> Tensor:
    """1 - the mean normalised entropy: scalar 0..1 of probabilities [B,C,H,W]."""
    entropy = -torch.special.xlogy(probabilities, probabilities).sum(1).mean()
    return 1 - entropy / math.log(probabilities.shape[1])


def soft_neighbourhood_density(probabilities: Tensor, temperature: float = 0.05) -> Tensor:
    """Mean entropy of each row's softmax similarity to all other rows (SND; Saito et al., ICCV 2021): scalar >= 0.

    High where target predictions form dense clusters.

    Args:
        probabilities: [N,C], of N positions.
    """
    rows = F.normalize(probabilities, dim=1)
    scores = (rows @ rows.t()) / temperature
    scores.fill_diagonal_(-torch.inf)
    near = scores.softmax(1)
    return -torch.special.xlogy(near, near).sum(1).mean()


class Validators(nn.Module):
    """Watches a run and scores its network on fixed target training images, without their labels.

    Names: "entropy" (1 - mean normalised entropy), "soft_neighbourhood_density", "teacher_agreement" (percent of pixels
    decided as by a moving average of the network, momentum 0.99) and "source_score" (mIoU in percent on source images
    that have been given the Lab statistics of target images), which a run without a source lacks.

    Args:
        network: what is trained.
        source, target: training images; of the target, labels are never opened. The source may be none.
        sizes: height and width at which source and target images are looked at.
        images: how many of each, drawn from the seed.
    """

    def __init__(
        self,
        network: nn.Module,
        source: DomainData | None,
        target: DomainData,
        sizes: tuple[tuple[int, int], tuple[int, int]],
        images: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.teacher = Teacher(network)
        self.source, self.target, self.sizes = source, target, sizes
        chosen = np.random.default_rng(seed)
        self.places = [
            (int(chosen.integers(len(source))) if source is not None else 0, int(index))
            for index in chosen.permutation(len(target))[:images]
        ]

    def follow(self, network: nn.Module) -> None:
        """After every optimiser step."""
        self.teacher.follow(network, MOMENTUM)

    @torch.inference_mode()
    def scores(
        self,
        network: nn.Module,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ) -> dict[str, float]:
        """All validators of the network as it is."""
        sums: dict[str, Tensor] = {}
        classes = len(self.target.label_space)
        taught = self.source if self.source is not None and self.source.has_labels else None
        confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        with evaluating(network):
            for source_index, target_index in self.places:
                target = _input(self.target, target_index, self.sizes[1], device)
                with autocast():
                    probabilities = _probabilities(network, target)
                    other = self.teacher.probabilities(target)
                found = {
                    "entropy": certainty(probabilities),
                    "soft_neighbourhood_density": soft_neighbourhood_density(_some_rows(probabilities)),
                    "teacher_agreement": 100 * (decided(probabilities) == decided(other)).float().mean(),
                }
                sums = {name: sums.get(name, 0) + value for name, value in found.items()}
                if taught is not None:
                    source = _input(taught, source_index, self.sizes[0], device)
                    with autocast():
                        styled = _probabilities(network, match_lab_statistics(source, target).clamp(0, 1))
                    label = torch.from_numpy(np.array(taught.label(source_index))).to(device)
                    classified = decided(F.interpolate(styled, size=label.shape, mode="bilinear"))
                    confusion += image_confusions(classified, label[None], classes)[0]
        means = {name: (value / len(self.places)).item() for name, value in sums.items()}
        if taught is not None:
            means["source_score"] = float(100 * np.nanmean(iou(confusion)))
        return means


def _input(data: DomainData, index: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """[1,3,*size]."""
    return to_input(np.stack([resized(data.image(index), size)]), device)


def _probabilities(network: nn.Module, images: Tensor) -> Tensor:
    output = network(images)
    return output.enlarged(output.logits, images.shape[2:]).softmax(1)


def _some_rows(probabilities: Tensor) -> Tensor:
    """[N,C]: the same evenly spread positions of every image of one size."""
    rows = probabilities.flatten(2)[0].t()
    return rows[torch.linspace(0, len(rows) - 1, min(_POSITIONS, len(rows)), device=rows.device).long()]
