"""Offline self-training: thresholds against sorting all pixels, losses against plain sums."""

import math

import numpy as np
import pytest
import torch
from tester import step_of

from da_toolkit.errors import UserError
from da_toolkit.methods import ClassBalanced, InstanceAdaptive, PseudoLabels, SourceOnly
from da_toolkit.methods.pseudo_labels import soft_labels
from da_toolkit.methods.thresholds import BINS, confidence_histogram, top_threshold
from da_toolkit.recipe import Schedule, Stage

CPU = torch.device("cpu")


def random_probabilities(images, classes=4, size=(12, 15), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, *size, generator=generator) * 3
    return (logits + torch.tensor([1.0, 0.5, 0.0, -1.0])[None, :, None, None]).softmax(1)


def sorted_confidences(probabilities, label):
    """Of one image or many, the pixels decided for a class, the surest first."""
    highest, decided = probabilities.max(1)
    return sorted(highest[decided == label].tolist(), reverse=True)


def test_histograms_count_every_pixel_once():
    probabilities = random_probabilities(3)
    counts = confidence_histogram(probabilities)
    assert counts.shape == (3, 4, BINS) and counts.sum() == 3 * 12 * 15
    for image in range(3):
        for c in range(4):
            values = sorted_confidences(probabilities[image : image + 1], c)
            expected = np.bincount([min(BINS - 1, int(np.float32(v) * BINS)) for v in values], minlength=BINS)
            assert counts[image, c].tolist() == expected.tolist()


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_class_balanced_thresholds_label_the_surest_share_of_each_class(share):
    probabilities = random_probabilities(5)
    policy = ClassBalanced(portion=share, growth=0.0, limit=1.0)
    seen = policy.start(4, 1, 5, CPU)
    for start in (0, 2, 4):
        seen.see(torch.arange(start, min(start + 2, 5)), probabilities[start : start + 2])
    thresholds, labelled = seen.result()
    assert thresholds.shape == (1, 4) and seen.pixels == 5 * 12 * 15
    for c in range(4):
        values = sorted_confidences(probabilities, c)
        exact = values[math.ceil(share * len(values)) - 1]
        assert exact - 1 / BINS <= thresholds[0, c] <= exact
        assert labelled[c] == sum(value * BINS >= int(thresholds[0, c] * BINS + 0.5) for value in values)


def test_portions_grow_by_round_up_to_the_limit():
    policy = ClassBalanced(portion=0.2, growth=0.05, limit=0.28)
    assert [policy.share(round) for round in (1, 2, 3)] == pytest.approx([0.2, 0.25, 0.28])


def test_a_class_never_decided_gets_the_strictest_threshold():
    assert top_threshold(torch.zeros(BINS, dtype=torch.int64)[None], 0.5).item() == pytest.approx((BINS - 1) / BINS)


def test_class_balanced_labels_are_the_best_ratio_above_one():
    probabilities, thresholds = random_probabilities(2), torch.tensor([[0.9, 0.5, 0.6, 0.3]]).repeat(2, 1)
    label = ClassBalanced().labels(probabilities, thresholds)
    for image in range(2):
        for h in range(12):
            for w in range(15):
                ratios = [float(probabilities[image, c, h, w]) / float(thresholds[image, c]) for c in range(4)]
                best = max(range(4), key=ratios.__getitem__)
                assert label[image, h, w] == (best if ratios[best] > 1 else 255)
    assert 0.2 < (label == 255).float().mean() < 0.9


def test_instance_adaptive_thresholds_equal_the_papers_recursion():
    """t <- beta t + (1-beta) (the confidence at share alpha t^gamma of the image's pixels of the class)."""
    probabilities = random_probabilities(6)
    probabilities[2] = probabilities[2][[0, 1, 1, 1]] / probabilities[2][[0, 1, 1, 1]].sum(0)  # lacks classes 2 and 3
    settings = InstanceAdaptive(alpha=0.5, beta=0.7, gamma=2.0, first=0.9)
    order = [3, 0, 2, 5, 1, 4]
    seen = settings.start(4, 1, 6, CPU)
    for start in (0, 2, 4):
        chosen = torch.tensor(order[start : start + 2])
        seen.see(chosen, probabilities[chosen])
    thresholds, labelled = seen.result()
    t, count = [0.9] * 4, [0] * 4
    for image in order:
        for c in range(4):
            values = sorted_confidences(probabilities[image : image + 1], c)
            if values:
                place = max(1, math.ceil(settings.alpha * t[c] ** settings.gamma * len(values)))
                t[c] = 0.7 * t[c] + 0.3 * int(values[place - 1] * BINS) / BINS
        assert thresholds[image].tolist() == pytest.approx(t, abs=2 / BINS)
        for c in range(4):
            count[c] += sum(v >= t[c] for v in sorted_confidences(probabilities[image : image + 1], c))
    assert labelled.tolist() == pytest.approx(count, abs=6)
    label = settings.labels(probabilities, thresholds)
    highest, decided = probabilities.max(1)
    expected = torch.where(highest >= torch.gather(thresholds, 1, decided.flatten(1)).view_as(highest), decided, 255)
    assert torch.equal(label, expected)


def test_soft_labels_minimise_the_regularised_loss():
    """At the closed form no neighbour on the simplex is better, and a pixel is labelled where the cost is below 0."""
    probabilities = random_probabilities(1, size=(3, 4)).double()
    thresholds, a = torch.tensor([[0.8, 0.5, 0.6, 0.3]]), 0.25
    soft, label = soft_labels(probabilities, thresholds, a)
    torch.testing.assert_close(soft.sum(1), torch.ones(1, 3, 4).double())

    def cost(y, p):
        return sum(
            float(y[c]) * (math.log(float(thresholds[0, c])) - math.log(float(p[c])))
            + a * float(y[c]) * math.log(max(float(y[c]), 1e-300))
            for c in range(4)
        )

    generator = torch.Generator().manual_seed(0)
    for h in range(3):
        for w in range(4):
            y, p = soft[0, :, h, w], probabilities[0, :, h, w]
            best = cost(y, p)
            for _ in range(20):
                other = y * torch.exp(0.2 * torch.randn(4, generator=generator).double())
                assert cost(other / other.sum(), p) >= best - 1e-9
            assert (label[0, h, w] != 255) == (best < 0)


def make(tiny_trainer, **settings):
    schedule = Schedule((Stage("warm-up", 2), Stage("round 1", 2, round=1), Stage("round 2", 2, round=2)))
    method = SourceOnly(regularizers=(PseudoLabels(**settings),), class_balance=0.5)
    return tiny_trainer(method, schedule=schedule)


def test_losses_equal_plain_means(tiny_trainer):
    trainer = make(tiny_trainer, thresholds=ClassBalanced(portion=0.5), weight=0.7, smoothing=0.2, entropy=0.3)
    term = trainer.terms[1]
    assert term.losses(step_of(trainer)) == {} and term.numbers() == {}
    trainer.begin(trainer.recipe.schedule.stages[1])
    assert 0.3 < term.numbers()["pseudo_share"] < 0.9
    trainer.model.eval()
    step = step_of(trainer)
    losses = term.losses(step)
    probabilities = step.target.probabilities().detach()  # the teacher is the network still
    label = ClassBalanced().labels(probabilities, term.thresholds.repeat(2, 1))
    p, log_p = step.target.probabilities(), step.target.log_probabilities()
    labelled = label != 255
    assert 0.1 < labelled.float().mean() < 1
    own = -log_p.gather(1, label.clamp(max=18)[:, None])[:, 0]
    torch.testing.assert_close(losses["pseudo"], 0.7 * own[labelled].mean())
    torch.testing.assert_close(losses["pseudo_smoothing"], 0.2 * -log_p.mean(1)[labelled].mean())
    entropy = -(p * log_p).sum(1) / math.log(19)
    torch.testing.assert_close(losses["pseudo_entropy"], 0.3 * entropy[~labelled].mean())


def test_labels_come_from_the_rounds_start(tiny_trainer):
    """Within a round the teacher stays; at the next one it becomes the network of then."""
    trainer = make(tiny_trainer)
    seen = {}

    def look(step):
        networks = trainer.terms[1].teacher.network, trainer.model
        seen[step] = tuple(next(network.parameters()).clone() for network in networks)

    trainer.fit(lambda *_: None, after_step=look)
    assert torch.equal(seen[3][0], seen[2][1]) and torch.equal(seen[4][0], seen[2][1])
    assert torch.equal(seen[5][0], seen[4][1]) and not torch.equal(seen[5][0], seen[4][0])


def test_bad_settings_are_refused(tiny_recipe):
    with pytest.raises(UserError, match="portion"):
        ClassBalanced(portion=0.6, limit=0.5)
    with pytest.raises(UserError, match=r"thresholds\.beta"):
        InstanceAdaptive(beta=2.0)
    with pytest.raises(UserError, match="softness"):
        PseudoLabels(softness=0.0)
    with pytest.raises(UserError, match="rounds"):
        tiny_recipe(SourceOnly(regularizers=(PseudoLabels(),)))
