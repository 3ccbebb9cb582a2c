"""The adversarial game against the formulas of Tsai et al. (CVPR 2018), written plainly."""

import math

import pytest
import torch
from tester import step_of

from da_toolkit.errors import UserError
from da_toolkit.methods import Adversarial, FeatureSpace, OutputSpace
from da_toolkit.methods.adversarial import SOURCE, TARGET, domain_loss


def test_domain_loss_values():
    logits = torch.tensor([0.0, 2.0])
    bce_target = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    torch.testing.assert_close(domain_loss(logits, TARGET, "bce"), torch.tensor(bce_target))
    torch.testing.assert_close(domain_loss(logits, SOURCE, "bce"), torch.tensor(bce_target + 1))  # log(1+e^x) - x
    torch.testing.assert_close(domain_loss(logits, SOURCE, "least_squares"), torch.tensor(2.0))
    torch.testing.assert_close(domain_loss(logits, TARGET, "least_squares"), torch.tensor(1.0))


@pytest.mark.parametrize("objective", ["bce", "least_squares"])
@pytest.mark.parametrize("level", ["main", "aux"])
def test_losses_equal_the_papers(tiny_trainer, objective, level):
    trainer = tiny_trainer(Adversarial(discriminators=(OutputSpace(weight=0.3, level=level, objective=objective),)))
    trainer.model.eval()
    term, step = trainer.terms[1], step_of(trainer)

    def distance(view, wanted):
        judged = term.discriminator(view.logits(level).softmax(1))
        if objective == "least_squares":
            return ((judged - wanted) ** 2).mean()
        p = judged.sigmoid()
        return -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean()

    fooled = term.losses(step)[f"adv_output_{level}"]
    torch.testing.assert_close(fooled, 0.3 * distance(step.target, 0))
    game = term.update(step)[f"disc_output_{level}"]
    torch.testing.assert_close(game, 0.5 * distance(step.source, 0) + 0.5 * distance(step.target, 1))


def test_gradients_stay_on_their_side(tiny_trainer):
    trainer = tiny_trainer(Adversarial(discriminators=(OutputSpace(), FeatureSpace(width=8))))
    for term in trainer.terms[1:]:
        step = step_of(trainer)
        trainer.model.zero_grad()
        sum(term.losses(step).values()).backward()
        assert all(p.grad is None for p in term.parameters()) and all(p.requires_grad for p in term.parameters())
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trainer.model.parameters())
        trainer.model.zero_grad()
        sum(term.update(step).values()).backward()
        assert all(p.grad is not None for p in term.parameters())
        assert all(p.grad is None for p in trainer.model.parameters())


def test_a_lone_discriminator_learns_the_domains(tiny_trainer):
    """With no adversary (weight 0) its loss must fall well below ln 2, the loss of a coin."""
    trainer = tiny_trainer(Adversarial(discriminators=(OutputSpace(weight=0.0, lr=1e-3),)), steps=60)
    reports = []
    trainer.fit(lambda step, losses, rate: reports.append(losses["disc_output_main"]), log_every=10)
    assert reports[0] > 0.5 and reports[-1] < 0.5


def test_two_games_over_one_map_are_refused():
    with pytest.raises(UserError, match="something else"):
        Adversarial(discriminators=(OutputSpace(), OutputSpace(weight=1)))


def test_an_absent_level_is_named(tiny_trainer):
    with pytest.raises(UserError, match=r"output_aux judges the auxiliary level: set model\.aux"):
        tiny_trainer(Adversarial(discriminators=(OutputSpace(level="aux"),)), aux=False)


def test_the_game_begins_after_its_share_of_the_run(tiny_trainer):
    trainer = tiny_trainer(Adversarial(discriminators=(OutputSpace(start=0.5),)), steps=4)
    before = trainer.terms[1].state_dict()["discriminator.layers.0.weight"].clone()
    seen, weights = [], []

    def after(step):
        weights.append((trainer.terms[1].discriminator.layers[0].weight != before).any().item())

    trainer.fit(lambda step, losses, rate: seen.append(set(losses)), 1, after_step=after)
    both = {"seg", "seg_aux", "adv_output_main", "disc_output_main"}
    assert seen == [{"seg", "seg_aux"}] * 2 + [both] * 2
    assert weights == [False, False, True, True]


def test_a_game_that_never_begins_is_refused():
    with pytest.raises(UserError, match="shares of the run"):
        OutputSpace(start=1.0)
