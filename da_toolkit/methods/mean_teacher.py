"""Online self-training: a teacher that follows the network labels target images, mixed with source or masked."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.data.labels import IGNORE
from da_toolkit.errors import UserError
from da_toolkit.methods.feature_distance import FeatureDistance
from da_toolkit.methods.mixing import block_mask, change_colours, class_mask
from da_toolkit.methods.supervised import SourceOnly
from da_toolkit.models.teacher import FirstMomentum, Statistics, Teacher
from da_toolkit.ranks.parallel import mean_over_ranks, random_rows
from da_toolkit.registry import METHODS, REGULARIZERS
from da_toolkit.settings.schedule import Stage
from da_toolkit.terms.categories import Categories, Level
from da_toolkit.terms.step import Step, View
from da_toolkit.terms.term import BuildContext, Reads, Regularizer, Term


@dataclass(frozen=True)
class ClassMix:
    """Half of a source image's classes pasted on a target image, with labels (DACS; Tranheden et al., WACV 2021)."""

    weight: float = 1.0
    """Weight of the loss; 0 = off."""
    jitter: float = 0.25
    """Strength 0..1 of random colour changes of the mixed image."""
    blur: float = 0.5
    """Share 0..1 of mixed images that are blurred."""


@dataclass(frozen=True)
class Masking:
    """Masked image consistency (MIC; Hoyer et al., CVPR 2023): the network sees parts of the image, the teacher all."""

    weight: float = 1.0
    """Weight of the loss; 0 = off."""
    block: int = 64
    """Pixels a side of a block."""
    ratio: float = 0.7
    """Share 0..1 of blocks that are hidden."""
    jitter: float = 0.2
    """Strength 0..1 of random colour changes of the masked image."""
    blur: float = 0.5
    """Share 0..1 of masked images that are blurred."""


@REGULARIZERS.register("mean_teacher", family="self-training", paper="Tranheden et al., WACV 2021 (arXiv 2007.08702)")
@dataclass(frozen=True)
class MeanTeacher(Regularizer):
    """An averaged network labels target images; the network learns them mixed with source, masked, or both."""

    momentum: float = 0.99
    """Of the teacher's moving average, 0..1."""
    threshold: float = 0.968
    """Labels count as much as the share of pixels surer than this, 0..1."""
    ignore_top: float = 0.0
    """Share 0..1 of the target image's rows, from its top, whose labels do not count (DAFormer: 15 of 512)."""
    ignore_bottom: float = 0.0
    """The same from its bottom, where the car's bonnet is (DAFormer: 120 of 512)."""
    weights: Literal["image", "batch"] = "image"
    """Whose share of sure pixels counts: each image's own, or that of the whole batch, as in DACS and DAFormer."""
    statistics: Statistics = "running"
    """What the teacher's batch norms use: "running", the network's mean and variance of all that it saw, or "batch",
    those of the target images it labels, as in DACS and DAFormer."""
    first_momentum: FirstMomentum = "half"
    """Of the teacher's first step; it rises from there to `momentum`. "half" as in DAFormer, "zero" as in DACS, or
    "full", `momentum` at once, where the network starts trained."""
    level: Level = "class"
    """What the teacher's labels name: a class, or one of Cityscapes' categories, which leaves it to the other terms
    which of its classes is meant (see `RPT.level`). Source pixels that are pasted keep their class."""
    start: float = 0.0
    """Share of the run's steps, 0..1, before its losses begin; the teacher follows from the first step."""
    mix: ClassMix = field(default_factory=ClassMix)
    masking: Masking = field(default_factory=lambda: Masking(weight=0.0))

    def __post_init__(self) -> None:
        for name in ("momentum", "threshold", "ignore_top", "ignore_bottom", "start"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"mean_teacher.{name} lies in 0..1, got {getattr(self, name)}.")
        if self.masking.block < 1 or not 0 <= self.masking.ratio <= 1:
            raise UserError("mean_teacher.masking: block must be at least 1 and ratio lie in 0..1.")

    def check(self, stages: Sequence[Stage], reads: Reads) -> None:
        if self.mix.weight and not reads.source:
            raise UserError(
                "mean_teacher.mix pastes source classes, and this method reads no source: set mix.weight 0."
            )

    def build(self, context: BuildContext) -> "MeanTeacherTerm":
        return MeanTeacherTerm(self, context)


class MeanTeacherTerm(Term):
    """Losses "mix" and "masked"."""

    looks_at = ()

    blank: Tensor

    def __init__(self, settings: MeanTeacher, context: BuildContext) -> None:
        super().__init__()
        self.settings = settings
        self.teacher = Teacher(context.network, settings.statistics)
        self.num_classes = len(context.label_space)
        self.categories = Categories(context.label_space, settings.level)
        mean = cast(Tensor, context.network.mean)
        self.register_buffer("blank", mean.clone())  # what normalisation makes 0

    def follow(self, network: nn.Module) -> None:
        self.teacher.follow(network, self.settings.momentum, self.settings.first_momentum)

    def losses(self, step: Step) -> dict[str, Tensor]:
        if step.index < self.settings.start * step.total:
            return {}
        target = step.target.batch
        found = self.categories.probabilities(self.teacher.probabilities(target.image))
        label, sure = pseudo_labels(found, self.settings)
        losses, settings = {}, self.settings
        if settings.mix.weight:
            source = step.source
            scores = random_rows(len(label), self.num_classes, label.device)
            pasted = class_mask(source.label, scores)
            images = torch.where(pasted[:, None], source.batch.image, target.image)
            images = change_colours(images, settings.mix.jitter, settings.mix.blur)
            view = step.view(replace(target, image=images))
            counted = sure.masked_fill(pasted, 1.0)
            losses["mix"] = settings.mix.weight * self._taught(view, label, counted, source.label, pasted)
        if settings.masking.weight:
            hidden = block_mask(target.image, settings.masking.block, settings.masking.ratio)
            images = change_colours(target.image, settings.masking.jitter, settings.masking.blur)
            images = torch.where(hidden, self.blank, images)
            view = step.view(replace(target, image=images))
            nowhere = torch.zeros_like(label, dtype=torch.bool)
            losses["masked"] = settings.masking.weight * self._taught(view, label, sure, label, nowhere)
        return losses

    def _taught(self, view: View, label: Tensor, pixel_weights: Tensor, classes: Tensor, pasted: Tensor) -> Tensor:
        """Weighted cross-entropy with the teacher's categories; where `pasted` bool [B,H,W], with the `classes`."""
        if self.categories.plain:
            return view.supervised(weighted_loss, classes.where(pasted, label), pixel_weights)
        own, others = label.masked_fill(pasted, IGNORE), classes.masked_fill(~pasted, IGNORE)
        return view.supervised(self._loss, own, others, pixel_weights, pasted.to(pixel_weights))

    def _loss(self, logits: Tensor, label: Tensor, classes: Tensor, pixel_weights: Tensor, pasted: Tensor) -> Tensor:
        """Weighted cross-entropy with categories; where more than half [B,h,w] is `pasted`, with classes."""
        found = self.categories.log_probabilities(logits.log_softmax(1))
        each = F.nll_loss(found, label.masked_fill(pasted > 0.5, IGNORE), ignore_index=IGNORE, reduction="none")
        others = weighted_loss(logits, classes.masked_fill(pasted <= 0.5, IGNORE), pixel_weights)
        return (each * pixel_weights).mean() + others


def pseudo_labels(probabilities: Tensor, settings: MeanTeacher) -> tuple[Tensor, Tensor]:
    """Labels int64 [B,H,W] of probabilities [B,C,H,W], and what each pixel counts, float32 [B,H,W]:
    the share of its image's or the batch's pixels whose highest probability exceeds the threshold; 0 in ignored rows.
    With several processes, a batch is that of all."""
    highest, label = probabilities.max(1)
    share = (highest > settings.threshold).float().mean((1, 2), keepdim=True)
    if settings.weights == "batch":
        share = mean_over_ranks(share.mean())
    sure = share.expand_as(highest).clone()
    rows = label.shape[1]
    sure[:, : round(settings.ignore_top * rows)] = 0
    sure[:, rows - round(settings.ignore_bottom * rows) :] = 0
    return label, sure


def weighted_loss(logits: Tensor, label: Tensor, pixel_weights: Tensor) -> Tensor:
    """Mean over all pixels of the pixel's weight times its cross-entropy; ignored pixels (255) give 0.

    Args:
        logits: [B,C,H,W].
        label, pixel_weights: [B,H,W].
    """
    each = F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none")
    return (each * pixel_weights).mean()


@METHODS.register(
    family="self-training",
    paper="Tranheden et al., WACV 2021 (arXiv 2007.08702)",
    use="training time allows twice the passes and the classes are unbalanced; the default choice of self-training.",
    missing="nothing that we know of in the method; the last weights are scored.",
)
def dacs() -> SourceOnly:
    """Mean teacher with ClassMix across domains."""
    teacher = MeanTeacher(weights="batch", statistics="batch", first_momentum="zero")
    return SourceOnly(regularizers=(teacher,))


@METHODS.register(
    family="self-training",
    paper="Hoyer et al., CVPR 2022 (arXiv 2111.14887)",
    use="as `dacs`, with a transformer and things that must not be forgotten.",
    missing="nothing that we know of in the method; the last weights are scored, of one seed.",
)
def daformer() -> SourceOnly:
    """DACS with a slower teacher and the ImageNet feature distance; its recipes also sample rare classes."""
    teacher = MeanTeacher(momentum=0.999, weights="batch", statistics="batch")
    return SourceOnly(regularizers=(teacher, FeatureDistance()), average="all")


@METHODS.register(
    family="self-training",
    paper="Hoyer et al., CVPR 2023 (arXiv 2212.01322)",
    use="as `daformer`, when context should decide where appearance cannot.",
    missing="nothing that we know of in the method; the last weights are scored. `mic_gta` is on DAFormer.",
    recipe="mic_hrda_gta",
)
def mic() -> SourceOnly:
    """DAFormer's training with masked image consistency."""
    teacher = MeanTeacher(momentum=0.999, weights="batch", statistics="batch", masking=Masking())
    return SourceOnly(regularizers=(teacher, FeatureDistance()), average="all")
