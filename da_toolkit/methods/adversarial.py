"""Adversarial alignment: discriminators tell source from target, the network makes them fail."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.methods.supervised import Supervised
from da_toolkit.models.discriminators import FeatureDiscriminator, OutputDiscriminator
from da_toolkit.models.grid import at_least_single
from da_toolkit.registry import METHODS
from da_toolkit.terms.step import Level, Step, View
from da_toolkit.terms.term import BuildContext, Method, Reads, Term, frozen

SOURCE, TARGET = 0.0, 1.0
Objective = Literal["bce", "least_squares"]


def domain_loss(logits: Tensor, domain: float, objective: Objective) -> Tensor:
    """How far a discriminator's logits are from calling everything `domain` (0 = source, 1 = target).

    "bce" is the binary cross-entropy of GAN training; "least_squares" the mean squared distance of
    LSGAN (Mao et al., ICCV 2017). Scalar, float32.
    """
    logits = at_least_single(logits)
    wanted = torch.full_like(logits, domain)
    if objective == "bce":
        return F.binary_cross_entropy_with_logits(logits, wanted)
    return F.mse_loss(logits, wanted)


@dataclass(frozen=True)
class Discriminator:
    """Settings shared by discriminators."""

    weight: float = 1e-3
    """Weight of the adversarial loss in the network's objective."""
    objective: Objective = "bce"
    """"bce", the binary game of GANs, or "least_squares", that of LSGAN."""
    lr: float = 1e-4
    """Adam learning rate, betas (0.9, 0.99); it follows the run's learning-rate shape."""
    start: float = 0.0
    """Share of the run's steps, 0..1, before the game begins."""
    end: float = 1.0
    """Share of the run's steps, 0..1, after which the game is over, such as for an adversarial warm-up."""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= 1:
            raise UserError(
                "discriminator.start and end are shares of the run, 0 <= start < end <= 1, got "
                f"start {self.start} and end {self.end}."
            )

    def network(self, context: BuildContext) -> nn.Module:
        raise NotImplementedError

    def map(self, view: View) -> Tensor:
        """What the discriminator looks at."""
        raise NotImplementedError

    def loss(self, judged: Tensor, view: View, domain: float) -> Tensor:
        """How far the discriminator's logits on a view are from calling it `domain` (0 = source, 1 = target)."""
        return domain_loss(judged, domain, self.objective)

    @property
    def label(self) -> str:
        """Suffix of this discriminator's loss names."""
        raise NotImplementedError

    @property
    def chance(self) -> float | None:
        """The discriminator's loss when it cannot tell the domains; none where that is not known."""
        return math.log(2) if self.objective == "bce" else 0.25


@dataclass(frozen=True)
class OutputSpace(Discriminator):
    """Judges class probabilities at the image's resolution (Tsai et al., CVPR 2018)."""

    level: Level = "main"
    """"main", or "aux" for the auxiliary level of a network with one."""
    width: int = 64
    """Channels of its first layer."""

    def network(self, context: BuildContext) -> nn.Module:
        if self.level == "aux" and context.model is not None and not context.model.aux:
            raise UserError(f"method.discriminators: {self.label} judges the auxiliary level: set model.aux.")
        return OutputDiscriminator(len(context.label_space), self.width)

    def map(self, view: View) -> Tensor:
        return view.probabilities(self.level)

    @property
    def label(self) -> str:
        return f"output_{self.level}"


@dataclass(frozen=True)
class FeatureSpace(Discriminator):
    """Judges the backbone's last features at their own resolution, with an ASPP-type discriminator."""

    width: int = 256
    """Channels of its layers."""

    def network(self, context: BuildContext) -> nn.Module:
        return FeatureDiscriminator(context.feature_channels, self.width)

    def map(self, view: View) -> Tensor:
        return view.features

    @property
    def label(self) -> str:
        return "feature"


class AdversarialTerm(Term):
    """One discriminator and the loss that fools it on target images."""

    looks_at = ("target",)

    def __init__(self, settings: Discriminator, context: BuildContext) -> None:
        super().__init__()
        self.settings = settings
        self.discriminator = settings.network(context)

    def _plays(self, step: Step) -> bool:
        return self.settings.start * step.total <= step.index < self.settings.end * step.total

    def losses(self, step: Step) -> dict[str, Tensor]:
        if not self._plays(step):
            return {}
        with frozen(self.discriminator) as discriminator:
            judged = discriminator(self.settings.map(step.target))
        fooled = self.settings.loss(judged, step.target, SOURCE)
        return {f"adv_{self.settings.label}": self.settings.weight * fooled}

    def update(self, step: Step) -> dict[str, Tensor]:
        if not self._plays(step):
            return {}
        settings = self.settings
        sides = []
        for view, domain in ((step.source, SOURCE), (step.target, TARGET)):
            judged = self.discriminator(settings.map(view).detach())
            sides.append(settings.loss(judged, view, domain))
        return {f"disc_{settings.label}": (sides[0] + sides[1]) / 2}

    def symptoms(self, losses: dict[str, float]) -> dict[str, str]:
        name, chance = f"disc_{self.settings.label}", self.settings.chance
        loss = losses.get(name)
        if loss is None or chance is None:
            return {}
        if loss < 0.01 * chance:
            return {
                f"the discriminator loss {name} is near 0: it always tells the domains, and its gradient says little": (
                    "Lower the discriminator's lr, start it later, or raise the adversarial weight."
                )
            }
        if abs(loss - chance) < 0.01 * chance:
            return {
                f"the discriminator loss {name} stays at chance ({chance:.3g}): it cannot tell the domains": (
                    "Raise the discriminator's lr or lower the adversarial weight; else it has nothing left to teach."
                )
            }
        return {}

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.discriminator.parameters(), lr=self.settings.lr, betas=(0.9, 0.99))


@dataclass(frozen=True)
class Adversarial(Method):
    """Source cross-entropy plus any set of discriminators."""

    discriminators: tuple[Discriminator, ...] = (OutputSpace(),)
    """One adversarial game each."""

    def __post_init__(self) -> None:
        labels = [settings.label for settings in self.discriminators]
        if len(set(labels)) < len(labels):
            raise UserError(f"method.discriminators: each must judge something else, got {', '.join(labels)}.")

    @property
    def own_reads(self) -> Reads:
        return Reads(source=True, target=True)

    def terms(self, context: BuildContext) -> list[Term]:
        games = [AdversarialTerm(settings, context) for settings in self.discriminators]
        return [Supervised(context), *games]


@METHODS.register(
    family="adversarial",
    paper="Tsai et al., CVPR 2018 (arXiv 1802.10349)",
    use="a first method with a known cost: layouts of streets agree between the domains, and the network is a CNN.",
    missing=(
        "nothing that we know of; the last weights are scored, where a published score may be the best checkpoint's."
    ),
)
def adaptseg() -> Adversarial:
    """Output-space adversarial alignment (AdaptSegNet), single level."""
    return Adversarial(discriminators=(OutputSpace(weight=1e-3),))


@METHODS.register(
    family="adversarial",
    paper="Tsai et al., CVPR 2018 (arXiv 1802.10349)",
    use="as `adaptseg`, with a deep dilated network whose earlier stage should adapt too.",
    missing="as `adaptseg`.",
)
def adaptseg_multi() -> Adversarial:
    """AdaptSegNet on two levels; the network needs its auxiliary level."""
    return Adversarial(discriminators=(OutputSpace(weight=1e-3), OutputSpace(weight=2e-4, level="aux")))


@METHODS.register(
    family="adversarial",
    paper="Tsai et al., CVPR 2018 (arXiv 1802.10349)",
    use="the binary game of `adaptseg` does not settle.",
    missing="as `adaptseg`.",
)
def adaptseg_ls() -> Adversarial:
    """AdaptSegNet, single level, with the least-squares objective and weight 0.01."""
    return Adversarial(discriminators=(OutputSpace(weight=1e-2, objective="least_squares"),))


@METHODS.register(
    family="adversarial",
    paper="Hoffman et al., 2016 (arXiv 1612.02649)",
    use="a baseline for alignment in feature space; output space is usually better for segmentation.",
    missing=(
        "no row is restated: the paper has another network and constraints on class sizes, which ours leaves out."
    ),
)
def feature_adversarial() -> Adversarial:
    """Adversarial alignment of backbone features with an ASPP-type discriminator."""
    return Adversarial(discriminators=(FeatureSpace(),))
