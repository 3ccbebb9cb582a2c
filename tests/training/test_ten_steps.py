"""Ten steps of our trainer with MinEnt and AdvEnt, in float64, against a plain loop written from the paper.

Vu et al., CVPR 2019: source cross-entropy (auxiliary level x 0.1), and on target predictions, at both levels, the mean
entropy (MinEnt), or two discriminators that tell -p log p / log C of source and target apart (AdvEnt). The loop has the
network's and the discriminators' forward passes in common with ours, and nothing else.
"""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from da_toolkit.methods import Adversarial, Entropy, SelfInformation, SourceOnly
from da_toolkit.models.deeplab import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate

STEPS, HORIZON, TOLERANCE = 10, 25, 1e-9
LR, HEAD, MOMENTUM, DECAY = 2.5e-4, 10, 0.9, 5e-4
LEVELS = {"main": (1e-3, 1.0), "aux": (2e-4, 0.1)}
"""Weight of the target's loss and of the source's, by level."""
METHODS = {
    "minent": SourceOnly(regularizers=(Entropy(weight=1e-3, aux_weight=2e-4),)),
    "advent": Adversarial(
        discriminators=(SelfInformation(weight=1e-3, width=8), SelfInformation(weight=2e-4, width=8, level="aux"))
    ),
}


def trainer_of(tiny_trainer, method, repeats):
    """In float64, with the published optimiser and a rate that falls."""
    trainer = tiny_trainer(
        METHODS[method],
        steps=STEPS,
        model=DeepLabV2("test_resnet", 8, "none", "affine_frozen", aux=True, dilations=(1, 2)),
        optimizer=SGD(lr=LR, head_multiplier=HEAD, momentum=MOMENTUM, weight_decay=DECAY, repeats=repeats),
        learning_rate=LearningRate("poly", power=0.9, horizon=HORIZON),
        batch_size=1,
    )
    trainer.model.double()  # parameters stay the objects that the optimiser holds; mean and deviation follow
    trainer.players.double()
    return trainer


class PlainLoop:
    """The paper's training of one network, with every update written out."""

    def __init__(self, trainer, method):
        self.network = copy.deepcopy(trainer.model).train()
        games = zip(LEVELS, trainer.terms[1:], strict=True) if method == "advent" else ()
        self.discriminators = {level: copy.deepcopy(term.discriminator) for level, term in games}
        self.momenta, self.adam = {}, {}

    def step(self, number, source, target):
        rate = (1 - number / HORIZON) ** 0.9
        learned = {name: value for name, value in self.network.named_parameters() if value.requires_grad}
        shown = {}  # by level and domain: what a discriminator sees
        loss = 0.0
        for domain, batch in (("source", source), ("target", target)):
            output = self.network(batch.image)
            for level, logits in (("main", output.logits), ("aux", output.aux_logits)):
                wide = F.interpolate(logits, size=batch.image.shape[2:], mode="bilinear", align_corners=False)
                log_p = wide - torch.logsumexp(wide, 1, keepdim=True)
                information = -log_p.exp() * log_p / math.log(19)
                shown[level, domain] = information
                adversary, taught = LEVELS[level]
                if domain == "source":
                    known = batch.label != 255
                    own = log_p.gather(1, batch.label.where(known, 0)[:, None])[:, 0]
                    loss = loss - taught * own[known].sum() / known.sum()
                elif self.discriminators:
                    judged = self.discriminators[level](information)
                    loss = loss - adversary * torch.log(1 - judged.sigmoid()).mean()  # called source, which is 0
                else:
                    loss = loss + adversary * information.sum(1).mean()
        slopes = dict(zip(learned, torch.autograd.grad(loss, list(learned.values())), strict=True))
        players = {level: self.discriminator_slopes(level, shown) for level in self.discriminators}
        for name, slope in slopes.items():
            self.move(name, learned[name], slope, rate)
        for level, found in players.items():
            self.move_by_adam(level, found, number + 1, 1e-4 * rate)

    def discriminator_slopes(self, level, shown):
        player = self.discriminators[level]
        source, target = (player(shown[level, domain].detach()).sigmoid() for domain in ("source", "target"))
        loss = -(torch.log(1 - source).mean() + torch.log(target).mean()) / 2
        return torch.autograd.grad(loss, list(player.parameters()))

    @torch.no_grad()
    def move(self, name, weight, slope, rate):
        """SGD, once for each time that the published optimiser holds the parameter."""
        inner = name.startswith("backbone.layer")
        for _ in range((4 if ".downsample." in name else 3) if inner else 1):
            found = slope + DECAY * weight
            self.momenta[name] = MOMENTUM * self.momenta.get(name, 0.0) + found
            weight -= LR * rate * (1 if name.startswith("backbone.") else HEAD) * self.momenta[name]

    @torch.no_grad()
    def move_by_adam(self, level, slopes, count, rate):
        for number, (weight, slope) in enumerate(zip(self.discriminators[level].parameters(), slopes, strict=True)):
            first, second = self.adam.get((level, number), (0.0, 0.0))
            first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
            self.adam[level, number] = first, second
            weight -= rate * (first / (1 - 0.9**count)) / ((second / (1 - 0.99**count)).sqrt() + 1e-8)


def apart(mine, its):
    """The largest difference of any tensor of two modules."""
    pairs = zip(mine.state_dict().values(), its.state_dict().values(), strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


@pytest.mark.parametrize("method", METHODS)
def test_ten_steps_are_those_of_a_plain_loop(method, tiny_trainer):
    trainer = trainer_of(tiny_trainer, method, "as_published")
    start = copy.deepcopy(trainer.model)
    loop = PlainLoop(trainer, method)
    take, seen = trainer.images.next, []
    trainer.images.next = lambda: seen.append(take()) or seen[-1]
    trainer.fit(lambda *_: None)
    for number, (source, target) in enumerate(seen):
        loop.step(number, source, target)
    assert len(seen) == STEPS and trainer.model.mean.dtype == torch.float64
    assert apart(trainer.model, loop.network) < TOLERANCE
    assert apart(trainer.model, start) > 1e6 * TOLERANCE
    for level, term in zip(loop.discriminators, trainer.terms[1:], strict=False):
        assert apart(term.discriminator, loop.discriminators[level]) < TOLERANCE
    assert len(loop.discriminators) == (2 if method == "advent" else 0)


def test_the_comparison_sees_a_parameter_that_is_moved_too_seldom_and_a_loss_that_is_left_out(tiny_trainer):
    """Or the tolerance would say nothing."""
    trainer = trainer_of(tiny_trainer, "minent", "once")
    loop = PlainLoop(trainer, "minent")
    source, target = trainer.images.next()
    trainer.images.next = lambda: (source, target)
    trainer.step()
    loop.step(0, source, target)
    assert apart(trainer.model, loop.network) > 1e3 * TOLERANCE
    trainer = trainer_of(tiny_trainer, "minent", "as_published")
    loop = PlainLoop(trainer, "minent")
    trainer.images.next = lambda: (source, target)
    trainer.terms[1].weight = 0.0
    trainer.step()
    loop.step(0, source, target)
    assert apart(trainer.model, loop.network) > 10 * TOLERANCE
