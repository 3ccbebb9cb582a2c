"""CoTTA's labels, teacher and restoration against plain restatements."""

import copy

import pytest
import torch
from tester import step_of
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.methods import ContinualTeacher, SourceFree
from da_toolkit.models.teacher import Teacher


def made(tiny_trainer, **settings):
    trainer = tiny_trainer(SourceFree(regularizers=(ContinualTeacher(**settings),)), aux=False)
    return trainer, trainer.terms[0]


def plain(network, images):
    output = network(images)
    return F.interpolate(output.logits, size=images.shape[2:], mode="bilinear", align_corners=False).softmax(1)


def test_the_loss_is_the_cross_entropy_with_the_teachers_probabilities(tiny_trainer):
    trainer, term = made(tiny_trainer, weight=0.5, threshold=0.0, statistics="running")
    step = step_of(trainer)
    with torch.no_grad():
        soft = plain(term.teacher.network, step.target.batch.image)
    log_p = step.target.logits().double().log_softmax(1)
    total = 0.0
    for image in range(2):
        for c in range(19):
            total -= (soft[image, c].double() * log_p[image, c]).sum().item()
    assert term.losses(step)["continual"].item() == pytest.approx(0.5 * total / (2 * 64 * 96), rel=1e-5)


def test_unsure_images_are_labelled_by_the_mean_over_zooms_and_mirrored_ones(tiny_trainer):
    trainer, term = made(tiny_trainer, scales=(0.5, 1.0), statistics="running")
    images = step_of(trainer).target.batch.image.clone()
    images[0] = 0.9  # so that the two differ in confidence
    with torch.no_grad():
        sure = plain(term.start.network, images).amax(1).mean((1, 2))
        assert sure[0] != sure[1]
        term.settings = ContinualTeacher(scales=(0.5, 1.0), threshold=sure.mean().item())
        found = term.labels(images)
        unsure = int(sure.argmin())
        one = images[unsure : unsure + 1]
        small = F.interpolate(one, size=(32, 48), mode="bilinear", antialias=True)
        versions = []
        for seen in (small, one):
            for mirrored in (False, True):
                logits = term.teacher.network(seen.flip(3) if mirrored else seen).logits
                p = F.interpolate(logits, size=(64, 96), mode="bilinear", align_corners=False).softmax(1)
                versions.append(p.flip(3) if mirrored else p)
        expected = plain(term.teacher.network, images)
        expected[unsure] = sum(versions)[0] / 4
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert (found[unsure] - plain(term.teacher.network, images)[unsure]).abs().max() > 1e-4


def test_the_teacher_moves_by_the_same_share_from_the_first_step_on():
    network = torch.nn.Linear(2, 2).double()
    teacher = Teacher(network)
    expected = network.weight.detach().clone()
    for step in range(5):
        with torch.no_grad():
            network.weight += step + 1
        teacher.follow(network, 0.9, "full")
        expected = 0.9 * expected + 0.1 * network.weight.detach()
    torch.testing.assert_close(teacher.network.weight, expected, rtol=0, atol=1e-12)


def test_a_step_restores_the_expected_share_of_the_weights_to_the_start(tiny_trainer):
    trainer, term = made(tiny_trainer, restore=0.01)
    start = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    with torch.no_grad():
        for value in trainer.model.parameters():
            value += 1.0
    torch.manual_seed(0)
    term.follow(trainer.model)
    back = total = 0
    for name, value in trainer.model.named_parameters():
        restored = value == start[name]
        assert torch.equal(value, torch.where(restored, start[name], start[name] + 1.0))
        back, total = back + int(restored.sum()), total + value.numel()
    spread = (0.01 * 0.99 / total) ** 0.5
    assert total > 50_000 and abs(back / total - 0.01) < 4 * spread
    term.settings = ContinualTeacher(restore=0.0)
    before = copy.deepcopy(trainer.model.state_dict())
    term.follow(trainer.model)
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())


def test_frozen_weights_are_not_drawn_for(tiny_trainer):
    """So that a method that trains less restores of that alone."""
    trainer, term = made(tiny_trainer, restore=1.0)
    trainer.model.head.requires_grad_(False)
    with torch.no_grad():
        for value in trainer.model.parameters():
            value += 1.0
    term.follow(trainer.model)
    for mine, begun in zip(trainer.model.parameters(), term.start.network.parameters(), strict=True):
        torch.testing.assert_close(mine, begun if mine.requires_grad else begun + 1.0)


@pytest.mark.parametrize("settings", [{"momentum": 1.1}, {"restore": -0.1}, {"threshold": 2.0}, {"scales": ()}])
def test_settings_are_checked(settings):
    with pytest.raises(UserError, match=f"continual_teacher.{next(iter(settings))} "):
        ContinualTeacher(**settings)
