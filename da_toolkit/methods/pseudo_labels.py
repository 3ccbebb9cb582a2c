"""Offline self-training in rounds: a frozen copy of the network labels the target, by class-wise thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from da_toolkit.data.labels import IGNORE
from da_toolkit.errors import UserError
from da_toolkit.methods.adversarial import Adversarial, OutputSpace
from da_toolkit.methods.entropy import entropy_map
from da_toolkit.methods.supervised import SourceOnly
from da_toolkit.methods.thresholds import ClassBalanced, InstanceAdaptive, ThresholdPass, Thresholds
from da_toolkit.models.teacher import Statistics, Teacher
from da_toolkit.registry import METHODS, REGULARIZERS
from da_toolkit.settings.schedule import Stage
from da_toolkit.terms.cross_entropy import mean_where, segmentation_loss
from da_toolkit.terms.stages import StageContext
from da_toolkit.terms.step import Step, View
from da_toolkit.terms.term import BuildContext, DomainName, Reads, Regularizer, Term


@REGULARIZERS.register("pseudo_labels", family="self-training", paper="Zou et al., ECCV 2018 (arXiv 1810.07911)")
@dataclass(frozen=True)
class PseudoLabels(Regularizer):
    """The network of the round's start labels the target images of the round.

    Published code writes label maps to disk; here a frozen copy of the network labels each augmented image as it
    comes, so nothing is stored and labels fit every crop. It costs one more forward pass a step.
    """

    thresholds: Thresholds = field(default_factory=ClassBalanced)
    """Which pixels are labelled."""
    weight: float = 1.0
    """Weight of the cross-entropy on labelled pixels."""
    smoothing: float = 0.0
    """Weight of CRST's model regulariser on labelled pixels (MRKLD), the mean of -log p over classes. CRST's published
    0.1 is multiplied with another 0.1 before it acts, 0.01 here; IAST's is divided by the number of classes."""
    entropy: float = 0.0
    """Weight of the entropy, divided by ln C to 0..1, of the pixels without a label (IAST). The published code takes it
    in nats and divides by the number of classes too, as it does with `smoothing`: 3 and 0.1 there act as 0.465 and
    0.0053 with 19 classes here."""
    softness: float | None = None
    """CRST's label regulariser (LRENT): soft labels proportional to (p / threshold)^(1 / softness); by default hard."""
    statistics: Statistics = "running"
    """What the frozen copy's batch norms use: "running", the network's mean and variance of all that it saw, as in the
    published training, or "batch", those of the target images it labels."""

    def __post_init__(self) -> None:
        if self.softness is not None and self.softness <= 0:
            raise UserError(f"pseudo_labels.softness must be positive or none, got {self.softness}.")

    def check(self, stages: Sequence[Stage], reads: Reads) -> None:
        if not any(stage.round for stage in stages):
            raise UserError(
                "Pseudo-labels are made in rounds, but no stage of the schedule is one: add `*rounds(3, steps=...)` to "
                "its stages."
            )

    def build(self, context: BuildContext) -> "PseudoLabelTerm":
        return PseudoLabelTerm(self, context)


class PseudoLabelTerm(Term):
    """Losses "pseudo", "pseudo_smoothing" and "pseudo_entropy" from the first round on."""

    looks_at = ("target",)

    def __init__(self, settings: PseudoLabels, context: BuildContext) -> None:
        super().__init__()
        self.settings = settings
        self.num_classes = len(context.label_space)
        self.teacher = Teacher(context.network, settings.statistics)
        self.thresholds: Tensor | None = None
        self.share = 0.0

    def begin_stage(self, stage: StageContext) -> None:
        if stage.stage.round == 0:
            return
        self.teacher.copy_from(stage.model)
        found = self.settings.thresholds.start(self.num_classes, stage.stage.round, stage.images, stage.device)

        def see(view: View) -> None:
            running = self.settings.statistics == "running"  # then the pass itself is the frozen copy's
            p = view.probabilities() if running else self.teacher.probabilities(view.batch.image)
            found.see(view.batch.index, p)

        stage.watch_target(see, lambda: self._freeze(found))

    def _freeze(self, found: ThresholdPass) -> None:
        self.thresholds, labelled = found.result()
        self.share = (labelled.sum() / found.pixels.clamp(min=1)).item()

    def numbers(self) -> dict[str, float]:
        """The share of target pixels with a label."""
        return {} if self.thresholds is None else {"pseudo_share": self.share}

    def losses(self, step: Step) -> dict[str, Tensor]:
        if self.thresholds is None:
            return {}
        settings, view = self.settings, step.target
        probabilities = self.teacher.probabilities(view.batch.image)
        thresholds = self.thresholds[view.batch.index % len(self.thresholds)]
        label = settings.thresholds.labels(probabilities, thresholds)
        losses = {}
        if settings.softness is None:
            losses["pseudo"] = settings.weight * view.supervised(segmentation_loss, label)
        else:
            soft, label = soft_labels(probabilities, thresholds, settings.softness)
            losses["pseudo"] = settings.weight * mean_where(-(soft * view.log_probabilities()).sum(1), label != IGNORE)
        if settings.smoothing:
            losses["pseudo_smoothing"] = settings.smoothing * mean_where(
                -view.log_probabilities().mean(1), label != IGNORE
            )
        if settings.entropy:
            losses["pseudo_entropy"] = settings.entropy * mean_where(
                entropy_map(view.log_probabilities()), label == IGNORE
            )
        return losses

    def remembers(self) -> set[DomainName]:
        return {"target"} if self.thresholds is not None and len(self.thresholds) > 1 else set()

    def get_extra_state(self) -> dict[str, Any]:
        return {"thresholds": self.thresholds, "share": self.share}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.thresholds, self.share = state["thresholds"], state["share"]


def soft_labels(probabilities: Tensor, thresholds: Tensor, softness: float) -> tuple[Tensor, Tensor]:
    """Soft labels [B,C,H,W] of probabilities [B,C,H,W], and int64 [B,H,W], the likeliest class or 255.

    CRST's LRENT (Zou et al., ICCV 2019) minimises sum_c y_c (log t_c - log p_c) + a sum_c y_c log y_c over the
    simplex: y_c is proportional to (p_c / t_c)^(1/a) and the minimum is -a log sum_c (p_c / t_c)^(1/a). A pixel has a
    label where that is below 0, the cost of none.

    Args:
        thresholds: [B,C], t.
        softness: a.
    """
    scores = (probabilities.clamp(min=1e-8).log() - thresholds.clamp(min=1e-8).log()[..., None, None]) / softness
    chosen = scores.logsumexp(1) > 0
    return scores.softmax(1), scores.argmax(1).where(chosen, IGNORE)


@METHODS.register(
    family="self-training",
    paper="Zou et al., ECCV 2018 (arXiv 1810.07911)",
    use="a good source model exists and training happens in rounds.",
    missing="the row's network, its spatial priors and testing at several scales, as we recall.",
)
def cbst() -> SourceOnly:
    """Class-balanced self-training: of each class the surest 20 % are labelled, 5 % more every round."""
    return SourceOnly(regularizers=(PseudoLabels(ClassBalanced()),))


@METHODS.register(
    family="self-training",
    paper="Zou et al., ICCV 2019 (arXiv 1908.09822)",
    use="as `cbst`, when it grows too sure of wrong labels.",
    missing="testing at several scales.",
)
def crst() -> SourceOnly:
    """CBST with confidence regularised in the model: MRKLD, at the weight that the published 0.1 acts with, 0.01."""
    return SourceOnly(regularizers=(PseudoLabels(ClassBalanced(), smoothing=0.01),))


@METHODS.register(
    family="self-training",
    paper="Zou et al., ICCV 2019 (arXiv 1908.09822)",
    use="as `crst`, with uncertainty kept in the labels.",
    missing="no row is restated: the paper's best one is that of MRKLD, which `crst` has.",
)
def crst_soft() -> SourceOnly:
    """CBST with soft pseudo-labels: confidence regularised in the label (LRENT), softness 0.25."""
    return SourceOnly(regularizers=(PseudoLabels(ClassBalanced(), softness=0.25),))


@METHODS.register(
    family="self-training",
    paper="Mei et al., ECCV 2020 (arXiv 2008.12197)",
    use="confidence varies between images (night, weather) more than between classes.",
    missing=(
        "Adam at 2e-5 to 3e-5 with cosine restarts and batches of 4 and 8; rounds without a loss of the source, each "
        "of which labels a larger share (0.2, 0.25, 0.3); images of several sizes in training and scoring; an "
        "adversary of least squares. Ours has AdaptSegNet's schedule and optimiser."
    ),
)
def iast() -> Adversarial:
    """Instance-adaptive self-training after an adversarial warm-up, with both of its regularisers.

    The adversary plays in the first half of the run: give the warm-up half of the schedule, or set `end` to its share.
    """
    labels = PseudoLabels(InstanceAdaptive(), smoothing=0.0053, entropy=0.465)
    return Adversarial(discriminators=(OutputSpace(end=0.5),), regularizers=(labels,))
