"""Continual test-time adaptation (CoTTA): an averaged teacher labels, and a few source weights come back every step."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.methods.source_free import SourceFree
from da_toolkit.models.teacher import Statistics, Teacher
from da_toolkit.registry import METHODS, REGULARIZERS
from da_toolkit.terms.step import Step
from da_toolkit.terms.term import BuildContext, Regularizer, Term


@REGULARIZERS.register("continual_teacher", family="source-free", paper="Wang et al., CVPR 2022 (arXiv 2203.13591)")
@dataclass(frozen=True)
class ContinualTeacher(Regularizer):
    """An averaged network labels target images, softly, and a random share of the weights is set back to the start."""

    weight: float = 1.0
    """Weight of the cross-entropy with the teacher's probabilities."""
    momentum: float = 0.999
    """Of the teacher's moving average, 0..1, from the first step on."""
    restore: float = 0.01
    """Share 0..1 of the trained weights that each step sets back to those of the start."""
    threshold: float = 0.69
    """An image of which the start network's mean confidence, 0..1, lies below this is labelled by the mean over
    `scales` and mirrored images; a surer one as it is. Recalled from the published segmentation setting."""
    scales: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    """Zooms of that mean. Each costs two passes of the teacher."""
    statistics: Statistics = "batch"
    """What the batch norms of the teacher and of the start network use: "running" or, as in the published training,
    those of the "batch"."""

    def __post_init__(self) -> None:
        for name in ("momentum", "restore", "threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"continual_teacher.{name} lies in 0..1, got {getattr(self, name)}.")
        if not self.scales or min(self.scales) <= 0:
            raise UserError(f"continual_teacher.scales must be positive zooms such as 0.5 1.0 2.0, got {self.scales}.")

    def build(self, context: BuildContext) -> "ContinualTeacherTerm":
        return ContinualTeacherTerm(self, context)


class ContinualTeacherTerm(Term):
    """Loss "continual"."""

    looks_at = ("target",)

    def __init__(self, settings: ContinualTeacher, context: BuildContext) -> None:
        super().__init__()
        self.settings = settings
        self.teacher = Teacher(context.network, settings.statistics)
        self.start = Teacher(context.network, settings.statistics)

    def losses(self, step: Step) -> dict[str, Tensor]:
        view = step.target
        with torch.no_grad():
            soft = self.labels(view.batch.image)
        return {"continual": -self.settings.weight * (soft * view.log_probabilities()).sum(1).mean()}

    def labels(self, images: Tensor) -> Tensor:
        """Soft labels float32 [B,C,H,W] of images [B,3,H,W]."""
        plain = self.teacher.probabilities(images)
        unsure = self.start.probabilities(images).amax(1).mean((1, 2)) < self.settings.threshold
        if not unsure.any():  # seldom enough that the passes saved are worth the wait for the device
            return plain
        versions = torch.stack(list(self._versions(images))).mean(0)
        return versions.where(unsure[:, None, None, None], plain)

    def _versions(self, images: Tensor) -> Iterator[Tensor]:
        """The teacher's probabilities [B,C,H,W] of each zoom, and of its mirror image turned back."""
        size = images.shape[2:]
        for scale in self.settings.scales:
            zoomed = [max(1, round(side * scale)) for side in size]
            seen = F.interpolate(images, size=zoomed, mode="bilinear", antialias=scale < 1)
            for mirrored in (False, True):
                output = self.teacher.network(seen.flip(3) if mirrored else seen)
                p = output.enlarged(output.logits, size).softmax(1)
                yield p.flip(3) if mirrored else p

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """The teacher moves, then each trained weight is set back with chance `restore`, alike on all ranks."""
        self.teacher.follow(network, self.settings.momentum, "full")
        for weight, begun in zip(network.parameters(), self.start.network.parameters(), strict=True):
            if weight.requires_grad and self.settings.restore:
                weight.copy_(torch.where(torch.rand_like(weight) < self.settings.restore, begun, weight))


@METHODS.register(
    family="source-free",
    paper="Wang et al., CVPR 2022 (arXiv 2203.13591)",
    use="a trained network adapts for long, or to a target that changes, and must not drift away from what it knew.",
    missing=(
        "no row is restated: the paper segments ACDC's changing weather online, from Cityscapes with "
        "SegFormer-B5, and ours trains on one target."
    ),
)
def cotta() -> SourceFree:
    """CoTTA: a slow teacher's augmentation-averaged labels, and stochastic restoration of the source's weights."""
    return SourceFree(regularizers=(ContinualTeacher(),))
