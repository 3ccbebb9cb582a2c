"""Offline self-training: thresholds against sorting all pixels, losses against plain sums."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from tester import step_of

from da_toolkit.errors import UserError
from da_toolkit.methods import ClassBalanced, InstanceAdaptive, PseudoLabels, SourceOnly
from da_toolkit.methods.pseudo_labels import soft_labels
from da_toolkit.methods.thresholds import BINS, bin_edges, confidence_histogram, top_bin
from da_toolkit.recipe import Schedule, Stage, find_recipe, load_recipe
from da_toolkit.registry import METHODS

CPU = torch.device("cpu")
WIDTH = 0.011
"""Of a bin, in the logit."""


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
    edges = bin_edges(CPU)
    counts = confidence_histogram(probabilities, edges)
    assert counts.shape == (3, 4, BINS) and counts.sum() == 3 * 12 * 15
    for image in range(3):
        for c in range(4):
            values = sorted_confidences(probabilities[image : image + 1], c)
            above = [max(0, int((edges.numpy() < np.float32(value)).sum()) - 1) for value in values]
            assert counts[image, c].tolist() == np.bincount(above, minlength=BINS).tolist()


def test_bins_are_uniform_in_the_logit_and_the_last_is_1_alone():
    edges = bin_edges(CPU)
    assert len(edges) == BINS and edges[0] == 0 and (edges.diff() >= 0).all() and edges[1] < 1 / 145
    assert edges[-1] < 1 and torch.nextafter(edges[-1], torch.tensor(2.0)) == 1
    logits = edges[1:].double().logit()
    assert logits[logits < 8].diff().max() < WIDTH  # above, a float32 is wider
    exact = torch.tensor([1.0, edges[-1].item(), 0.5, 1e-4])
    counts = confidence_histogram(exact[None, None, None], edges)
    assert counts[0, 0, -1] == 1 and counts[0, 0, 0] == 1 and counts.sum() == 4


def saturated_probabilities(images, seed=0):
    """Of four classes, most pixels above 0.9999 for each of the first two."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.zeros(images, 4, 60, 80)
    margin = 11.5 + torch.randn(images, 60, 80, generator=generator)
    first = torch.rand(images, 60, 80, generator=generator) < 0.7
    logits[:, 0], logits[:, 1] = margin * first, margin * ~first
    probabilities = logits.softmax(1)
    assert (probabilities.max(1).values > 0.9999).float().mean() > 0.8
    return probabilities


def portions(label, probabilities):
    """Of the pixels decided for each of the first two classes, the share with a label."""
    decided = probabilities.argmax(1)
    return [(label[decided == c] == c).float().mean().item() for c in (0, 1)]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_class_balanced_keeps_its_portion_of_classes_that_are_sure(share):
    probabilities = saturated_probabilities(4)
    policy = ClassBalanced(portion=share)
    seen = policy.start(4, 1, 4, CPU)
    seen.see(torch.arange(4), probabilities)
    thresholds, labelled = seen.result()
    label = policy.labels(probabilities, thresholds.repeat(4, 1))
    assert portions(label, probabilities) == pytest.approx([share, share], abs=0.01)
    assert labelled[:2].tolist() == [(label == c).sum() for c in (0, 1)]


def test_instance_adaptive_keeps_its_portion_of_classes_that_are_sure():
    """With a momentum of 0 and images alike, an image's threshold is that of the one itself."""
    probabilities = saturated_probabilities(4)
    policy = InstanceAdaptive(alpha=0.2, beta=0.0, first=1.0)
    seen = policy.start(4, 1, 4, CPU)
    seen.see(torch.arange(4), probabilities)
    label = policy.labels(probabilities, seen.result()[0])
    assert portions(label, probabilities) == pytest.approx([0.2, 0.2], abs=0.01)


def test_instance_adaptive_thresholds_reach_those_of_equal_images():
    """The running mean's last steps are smaller than float32 has near 1."""
    probabilities = saturated_probabilities(1)
    policy = InstanceAdaptive(alpha=0.2, beta=0.9, first=0.9)
    seen = policy.start(4, 1, 1, CPU)
    for _ in range(250):
        seen.see(torch.tensor([0]), probabilities)
    label = policy.labels(probabilities, seen.result()[0])
    assert portions(label, probabilities) == pytest.approx([0.2, 0.2], abs=0.01)


def test_equal_confidences_are_all_labelled():
    """What float32 rounds to 1 cannot be divided; the one below it, next to 1, can be told from it."""
    probabilities = torch.zeros(1, 2, 1, 10)
    probabilities[:, 0] = 1.0
    probabilities[0, 0, 0, 6:] = bin_edges(CPU)[-1]
    policy = ClassBalanced(portion=0.1)
    seen = policy.start(2, 1, 1, CPU)
    seen.see(torch.tensor([0]), probabilities)
    thresholds, labelled = seen.result()
    assert labelled.tolist() == [6, 0]
    assert policy.labels(probabilities, thresholds)[0, 0].tolist() == [0] * 6 + [255] * 4


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
        threshold = thresholds[0, c].item()
        assert exact - WIDTH * exact * (1 - exact) * 1.01 <= threshold < exact
        assert labelled[c] == sum(value > threshold for value in values)


def test_portions_grow_by_round_up_to_the_limit():
    policy = ClassBalanced(portion=0.2, growth=0.05, limit=0.28)
    assert [policy.share(round) for round in (1, 2, 3)] == pytest.approx([0.2, 0.25, 0.28])


def test_a_class_never_decided_gets_the_strictest_threshold():
    assert top_bin(torch.zeros(BINS, dtype=torch.int64)[None], 0.5).item() == BINS - 1
    seen = ClassBalanced().start(4, 1, 1, CPU)
    seen.see(torch.tensor([0]), random_probabilities(1)[:, [0, 0, 0, 0]] * torch.tensor([1, 0, 0, 0])[:, None, None])
    assert (seen.result()[0][0, 1:] == bin_edges(CPU)[-1]).all()


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
                t[c] = 0.7 * t[c] + 0.3 * values[place - 1]
        assert thresholds[image].tolist() == pytest.approx(t, abs=WIDTH / 2)
        for c in range(4):
            count[c] += sum(v >= t[c] for v in sorted_confidences(probabilities[image : image + 1], c))
    assert labelled.tolist() == pytest.approx(count, abs=6)
    label = settings.labels(probabilities, thresholds)
    highest, decided = probabilities.max(1)
    expected = torch.where(highest > torch.gather(thresholds, 1, decided.flatten(1)).view_as(highest), decided, 255)
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


def pixel_with(cross_entropy, mean):
    """float64 [19] log-probabilities: -log p of class 3 is `cross_entropy`, the mean of -log p over classes `mean`."""
    own, low, high = math.exp(-cross_entropy), 1e-30, 1 / 19
    for _ in range(300):  # 17 classes share the rest with one that has nearly all of it
        small = math.sqrt(low * high)
        big = 1 - own - 17 * small
        found = (cross_entropy - math.log(big) - 17 * math.log(small)) / 19
        low, high = (small, high) if found > mean else (low, small)
    p = torch.full((19,), small, dtype=torch.float64)
    p[3], p[0] = own, big
    return p.log()


@pytest.mark.parametrize("recipe", ["crst_gta", "crst_synthia", "crst"])
def test_the_published_weight_of_crst_is_multiplied_with_another_tenth(recipe, tiny_trainer):
    """Inputs whose sum is 6.1907 in the paper's code: at its printed weight, 0.1, they would give 6.7429."""
    regulariser = (6.7429 - 6.1907) / (0.1 - 0.01)
    cross_entropy = 6.1907 - 0.01 * regulariser
    method = METHODS[recipe].build() if recipe == "crst" else load_recipe(find_recipe(recipe)).method
    for smoothing, expected in ((method.regularizers[0].smoothing, 6.1907), (0.1, 6.7429)):
        part = dataclasses.replace(method.regularizers[0], smoothing=smoothing)
        trainer = tiny_trainer(SourceOnly(regularizers=(part,)), rounds=True)
        term, step = trainer.terms[1], step_of(trainer)
        term.thresholds = torch.full((1, 19), 0.5)
        labels = torch.full((2, 64, 96), 3)
        labels[:, 32:] = 5
        sure = torch.nn.functional.one_hot(labels, 19).permute(0, 3, 1, 2).float()
        sure[:, :, 40:] = 1 / 19  # without a label: whatever is predicted there does not count
        term.teacher.probabilities = lambda images, sure=sure: sure
        logits = pixel_with(cross_entropy, regulariser)[None, :, None, None].repeat(2, 1, 64, 96)
        logits[:, [3, 5], 32:] = logits[:, [5, 3], 32:]
        logits[:, :, 40:] = torch.randn(2, 19, 24, 96, dtype=torch.float64)
        step.target._logits["main"] = logits
        assert sum(term.losses(step).values()).item() == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize("recipe", ["iast", "iast_gta"])
def test_the_published_weights_of_iast_act_on_means_over_classes(recipe, tiny_trainer):
    """The paper's code divides sums over 19 classes and pixels by the number of both."""
    part = (METHODS[recipe].build() if recipe == "iast" else load_recipe(find_recipe(recipe)).method).regularizers[0]
    trainer = tiny_trainer(SourceOnly(regularizers=(part,)), rounds=True)
    term, step = trainer.terms[1], step_of(trainer)
    term.thresholds = torch.full((1, 19), 0.5)
    sure = torch.zeros(2, 19, 64, 96)
    sure[:, 3, :40], sure[:, :, 40:] = 1.0, 1 / 19
    term.teacher.probabilities = lambda images: sure
    step.target._logits["main"] = torch.randn(2, 19, 64, 96, dtype=torch.float64)
    log_p = step.target._logits["main"].log_softmax(1)
    labelled, bare = log_p[:, :, :40], log_p[:, :, 40:]
    found = term.losses(step)
    entropy = -(bare.exp() * bare).sum() / bare.numel()
    assert found["pseudo_entropy"].item() == pytest.approx(3.0 * entropy.item(), rel=1e-3)
    smoothing = -(labelled / 19).sum() / labelled.numel()
    assert found["pseudo_smoothing"].item() == pytest.approx(0.1 * smoothing.item(), rel=1e-2)


def test_the_published_entropy_of_iast_is_divided_by_19_with_16_classes_too():
    part = load_recipe(find_recipe("iast_synthia")).method.regularizers[0]
    assert part.entropy == pytest.approx(3.0 * math.log(16) / 19, rel=1e-3) and part.smoothing == 0.0053


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


def test_iasts_adversary_plays_in_the_warm_up_alone():
    """As the preset, in the first half; in its recipes until the rounds begin."""
    assert [game.end for game in METHODS["iast"].build().discriminators] == [0.5]
    for pair in ("gta", "synthia", "camvid"):
        recipe = load_recipe(find_recipe(f"iast_{pair}"))
        warm_up = sum(stage.steps for stage in recipe.schedule.stages if not stage.round)
        assert all(game.end * recipe.schedule.steps == warm_up for game in recipe.method.discriminators)


def test_bad_settings_are_refused(tiny_recipe):
    with pytest.raises(UserError, match="portion"):
        ClassBalanced(portion=0.6, limit=0.5)
    with pytest.raises(UserError, match=r"thresholds\.beta"):
        InstanceAdaptive(beta=2.0)
    with pytest.raises(UserError, match="softness"):
        PseudoLabels(softness=0.0)
    with pytest.raises(UserError, match="rounds"):
        tiny_recipe(SourceOnly(regularizers=(PseudoLabels(),)))


def test_the_frozen_copy_may_label_by_the_statistics_of_its_batches(tiny_trainer):
    """Its thresholds too: those of labels that it will not give would fit nothing."""
    from da_toolkit.models.teacher import Teacher

    found = {}
    for statistics in ("running", "batch"):
        part = PseudoLabels(ClassBalanced(), statistics=statistics)
        trainer = tiny_trainer(SourceOnly(regularizers=(part,)), rounds=True)
        trainer.begin(trainer.recipe.schedule.stages[1])
        teacher, seen = Teacher(trainer.model, statistics), ClassBalanced().start(19, 1, 6, torch.device("cpu"))
        with torch.no_grad():
            for batch in trainer.images.target_pass():
                seen.see(batch.index, teacher.probabilities(batch.image))
        found[statistics] = trainer.terms[1].thresholds
        assert torch.equal(found[statistics], seen.result()[0])
    assert not torch.equal(found["running"], found["batch"])
