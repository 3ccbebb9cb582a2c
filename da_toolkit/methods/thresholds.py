"""Confidence thresholds of pseudo-labels, from histograms: memory does not grow with the number of pixels."""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from da_toolkit.data.labels import IGNORE
from da_toolkit.errors import UserError
from da_toolkit.ranks.parallel import gathered_in_turn, sum_over_ranks

BINS = 2000
_LOWEST = -5.0  # logit of 0.0067, below which all confidences share a bin; they lie above 1/C
_SUREST = 1 - 2**-24  # the largest float32 below 1


def bin_edges(device: torch.device) -> Tensor:
    """float32 [BINS], ascending: bin i holds the confidences above edge i and up to edge i+1, the last one 1 alone.

    Uniform in the logit, 0.011 each: where a class is sure of nearly all its pixels, the last percent of the
    confidence is as finely divided as the rest. Equal confidences, such as all that float32 rounds to 1, cannot be
    divided: they are all labelled or none is. A softmax has steps of 1.2e-7 just below 1, bfloat16 logits larger ones.
    """
    logits = torch.linspace(_LOWEST, math.log(_SUREST / (1 - _SUREST)), BINS - 1, dtype=torch.float64)
    return torch.cat([torch.zeros(1), logits.sigmoid().float()]).to(device)


def confidence_histogram(probabilities: Tensor, edges: Tensor) -> Tensor:
    """int64 [B,C,BINS]: pixels of each image decided for each class, by their probability; of [B,C,H,W]."""
    highest, decided = probabilities.max(1)
    bin_ = torch.bucketize(highest.float().contiguous(), edges).sub_(1).clamp_(min=0)
    batch, classes = probabilities.shape[:2]
    image = torch.arange(batch, device=highest.device)[:, None, None]
    place = (image * classes + decided) * BINS + bin_
    counts = torch.zeros(batch * classes * BINS, dtype=torch.int64, device=highest.device)
    flat = place.flatten()
    return counts.scatter_add_(0, flat, torch.ones_like(flat)).view(batch, classes, BINS)


def top_bin(histogram: Tensor, share: Tensor | float) -> Tensor:
    """int64 [...]: the bin that holds the pixel at `share` 0..1 of each row's pixels, the surest first; `histogram`
    int64 [...,BINS]. A row without pixels gives the last bin."""
    from_top = histogram.flip(-1).cumsum(-1)
    wanted = from_top[..., -1:] * torch.as_tensor(share, device=histogram.device)[..., None]
    reached = (from_top < wanted).sum(-1)  # bins above the one in which the share is full
    empty = from_top[..., -1] == 0
    return (BINS - 1 - reached.clamp(max=BINS - 1)).where(~empty, BINS - 1)


class ThresholdPass:
    """Watches one pass over the target images and ends with thresholds."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.pixels = torch.zeros((), dtype=torch.int64, device=device)
        self.edges = bin_edges(device)
        self.num_classes = num_classes

    def see(self, index: Tensor, probabilities: Tensor) -> None:
        """Images `index` [B], their probabilities [B,C,H,W]. Never waits for the device."""
        raise NotImplementedError

    def result(self) -> tuple[Tensor, Tensor]:
        """Thresholds float32 [N,C] of every image, or [1,C] of all; and the labelled pixels of each class, [C].

        With several processes, of the images that all of them saw; to be called by all.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Thresholds:
    """Decides which target pixels get a label."""

    def start(self, num_classes: int, round: int, images: int, device: torch.device) -> ThresholdPass:
        """A new pass in round 1, 2, ... over `images` images."""
        raise NotImplementedError

    def labels(self, probabilities: Tensor, thresholds: Tensor) -> Tensor:
        """int64 [B,H,W], 255 = none, of probabilities [B,C,H,W] and thresholds [B,C]."""
        raise NotImplementedError


@dataclass(frozen=True)
class ClassBalanced(Thresholds):
    """The surest share of the pixels decided for each class (CBST; Zou et al., ECCV 2018).

    A pixel's label is the class with the highest p / threshold, if its p exceeds its threshold.
    """

    portion: float = 0.2
    """Share 0..1 in the first round."""
    growth: float = 0.05
    """Added every round."""
    limit: float = 0.5
    """The share never exceeds this."""

    def __post_init__(self) -> None:
        if not 0 < self.portion <= self.limit <= 1 or self.growth < 0:
            raise UserError(
                f"thresholds: 0 < portion <= limit <= 1 and growth >= 0 are needed, got portion {self.portion}, "
                f"growth {self.growth}, limit {self.limit}."
            )

    def share(self, round: int) -> float:
        """Of round 1, 2, ..."""
        return min(self.limit, self.portion + self.growth * (round - 1))

    def start(self, num_classes: int, round: int, images: int, device: torch.device) -> ThresholdPass:
        return _DomainPass(num_classes, self.share(round), device)

    def labels(self, probabilities: Tensor, thresholds: Tensor) -> Tensor:
        label = (probabilities / thresholds.clamp(min=1e-6)[..., None, None]).argmax(1)
        own = probabilities.gather(1, label[:, None])[:, 0]
        return label.where(own > _of_label(thresholds, label), IGNORE)  # near 1 a ratio would round to 1


class _DomainPass(ThresholdPass):
    """One histogram of all images."""

    def __init__(self, num_classes: int, share: float, device: torch.device) -> None:
        super().__init__(num_classes, device)
        self.share = share
        self.histogram = torch.zeros(num_classes, BINS, dtype=torch.int64, device=device)

    def see(self, index: Tensor, probabilities: Tensor) -> None:
        found = confidence_histogram(probabilities, self.edges).sum(0)
        self.histogram += found
        self.pixels += found.sum()

    def result(self) -> tuple[Tensor, Tensor]:
        sum_over_ranks(self.histogram, self.pixels)
        thresholds = self.edges[top_bin(self.histogram, self.share)]
        labelled = (self.histogram * (self.edges >= thresholds[:, None])).sum(1)
        return thresholds[None], labelled


@dataclass(frozen=True)
class InstanceAdaptive(Thresholds):
    """Thresholds that follow each image (IAST; Mei et al., ECCV 2020).

    Over the images of a pass, t <- beta t + (1 - beta) s, where s is the probability of the image's pixel at the share
    alpha t^gamma of those decided for the class, the surest first. Classes an image lacks keep their t.
    """

    alpha: float = 0.2
    """Largest share 0..1 of an image's pixels of a class."""
    beta: float = 0.9
    """Momentum 0..1 of the thresholds."""
    gamma: float = 8.0
    """How much harder it is for classes with low thresholds."""
    first: float = 0.9
    """The thresholds before the first image, 0..1."""

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "first"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"thresholds.{name} lies in 0..1, got {getattr(self, name)}.")

    def start(self, num_classes: int, round: int, images: int, device: torch.device) -> ThresholdPass:
        return _InstancePass(self, num_classes, images, device)

    def labels(self, probabilities: Tensor, thresholds: Tensor) -> Tensor:
        best, label = probabilities.max(1)
        return label.where(best > _of_label(thresholds, label), IGNORE)


class _InstancePass(ThresholdPass):
    """Thresholds of every image, [N,C].

    They depend on the images' order, which processes that share a pass know only at its end: until then each image's
    histogram is kept, 8 kB a class (0.45 GB for Cityscapes' 2,975 images and 19 classes).
    """

    def __init__(self, settings: InstanceAdaptive, num_classes: int, images: int, device: torch.device) -> None:
        super().__init__(num_classes, device)
        self.settings = settings
        self.histograms = torch.zeros(images, num_classes, BINS, dtype=torch.int32, device=device)
        self.order: list[Tensor] = []

    def see(self, index: Tensor, probabilities: Tensor) -> None:
        self.histograms.index_copy_(0, index, confidence_histogram(probabilities, self.edges).int())
        self.order.append(index)

    def result(self) -> tuple[Tensor, Tensor]:
        settings, device = self.settings, self.histograms.device
        sum_over_ranks(self.histograms)
        batches = gathered_in_turn([index.tolist() for index in self.order])
        # In float64: near 1, float32 would round the mean's steps away.
        current = torch.full((self.num_classes,), settings.first, dtype=torch.float64, device=device)
        thresholds = current.float().repeat(len(self.histograms), 1)
        labelled = torch.zeros(self.num_classes, dtype=torch.int64, device=device)
        for image in itertools.chain(*batches):
            histogram = self.histograms[image].long()
            share = settings.alpha * current.pow(settings.gamma)
            own = self.edges[top_bin(histogram, share)]
            moved = settings.beta * current + (1 - settings.beta) * own
            current = moved.where(histogram.sum(1) > 0, current)
            thresholds[image] = current.float()
            labelled += (histogram * (self.edges >= current[:, None])).sum(1)
        self.pixels = self.histograms.sum()
        return thresholds, labelled


def _of_label(thresholds: Tensor, label: Tensor) -> Tensor:
    """[B,H,W]: of thresholds [B,C], that of each pixel's class, int64 [B,H,W]."""
    return thresholds.gather(1, label.flatten(1)).view_as(label)
