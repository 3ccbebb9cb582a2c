"""Information maximisation and centroid labels against loops over pixels and positions."""

import math

import pytest
import torch
from ranks import two_ranks
from tester import step_of

from da_toolkit.errors import UserError
from da_toolkit.methods import CentroidLabels, InformationMaximisation, SourceFree
from da_toolkit.methods.information_maximisation import negative_entropy, similarity


def test_the_losses_are_the_entropy_of_pixels_and_the_negative_entropy_of_their_mean(tiny_trainer):
    part = InformationMaximisation(weight=0.7, diversity=0.3)
    trainer = tiny_trainer(SourceFree(regularizers=(part,)))
    step = step_of(trainer)
    p = step.target.logits().detach().double().softmax(1).permute(0, 2, 3, 1).flatten(0, 2).tolist()
    entropy = -sum(v * math.log(v) for row in p for v in row) / len(p)
    means = [sum(row[c] for row in p) / len(p) for c in range(19)]
    losses = trainer.terms[0].losses(step)
    assert losses["shot_entropy"].item() == pytest.approx(0.7 * entropy, rel=1e-5)
    assert losses["shot_diversity"].item() == pytest.approx(0.3 * sum(m * math.log(m) for m in means), rel=1e-5)
    off = tiny_trainer(SourceFree(regularizers=(InformationMaximisation(diversity=0.0),)))
    assert set(off.terms[0].losses(step_of(off))) == {"shot_entropy"}


def test_its_gradient_is_that_of_the_plain_formula_also_at_certainty():
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    mean = logits.softmax(1).mean(0)
    (expected,) = torch.autograd.grad((mean * mean.log()).sum(), logits, retain_graph=True)
    (found,) = torch.autograd.grad(negative_entropy(mean), logits)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)
    sure = torch.tensor([1.0, 0.0, 0.0], requires_grad=True)
    negative_entropy(sure).backward()
    assert negative_entropy(sure).item() == 0 and torch.isfinite(sure.grad).all()


def test_two_ranks_have_the_gradient_of_one_process(tmp_path):
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).mul(3)

    def of(rows):
        rows = rows.clone().requires_grad_()
        negative_entropy(rows.softmax(1).mean(0)).backward()
        return rows.grad

    def work(fabric):
        return of(logits[fabric.global_rank :: 2])

    ranks = two_ranks(work, tmp_path)
    whole = of(logits)
    for rank, found in enumerate(ranks):
        torch.testing.assert_close(found / 2, whole[rank::2], rtol=1e-5, atol=1e-8)


def plain_centroids(network, images):
    """SHOT's, position by position: means weighted by probabilities, then means of what those label by cosine."""
    positions = []
    for image in images:
        output = network(image[None])
        p = output.pooled(output.enlarged(output.logits, image.shape[1:]).softmax(1))[0]
        for row in range(p.shape[1]):
            for column in range(p.shape[2]):
                positions.append((output.features[0, :, row, column].double(), p[:, row, column].double()))
    decided = {int(p.argmax()) for _, p in positions}
    first = {
        c: sum(p[c] * feature for feature, p in positions) / sum(p[c] for _, p in positions) for c in sorted(decided)
    }

    def nearest(feature, centroids):
        return max(centroids, key=lambda c: torch.cosine_similarity(feature, centroids[c], dim=0).item())

    members = {}
    for feature, _ in positions:
        members.setdefault(nearest(feature, first), []).append(feature)
    return {c: torch.stack(found).mean(0) for c, found in members.items()}, nearest


def test_centroids_and_labels_are_the_papers(tiny_trainer):
    trainer = tiny_trainer(
        SourceFree(trains="encoder", regularizers=(CentroidLabels(weight=0.4, statistics="running"),)),
        rounds=True,
        aux=False,
    )
    with torch.no_grad():  # a random head decides one class everywhere
        for branch in trainer.model.head.layer.branches:
            branch.weight.mul_(300)
    term = trainer.terms[0]
    trainer.begin(trainer.recipe.schedule.stages[0])
    assert term.losses(step_of(trainer)) == {} and term.numbers() == {}
    trainer.begin(trainer.recipe.schedule.stages[1])
    trainer.model.eval()
    with torch.no_grad():
        images = [torch.from_numpy(trainer.images.target.image(i)).permute(2, 0, 1) / 255 for i in range(6)]
        images = [torch.nn.functional.interpolate(i[None], size=(64, 96))[0] for i in images]
        centroids, nearest = plain_centroids(trainer.model, images)
    assert len(centroids) > 1 and term.numbers() == {"centroid_classes": len(centroids)}
    assert set(term.known.nonzero().flatten().tolist()) == set(centroids)
    for c, centroid in centroids.items():
        torch.testing.assert_close(term.centroids[c].double(), centroid, rtol=1e-3, atol=1e-4)
    step = step_of(trainer)
    output = step.target.output
    near = similarity(output.features, term.centroids, term.known)
    for row in range(near.shape[2]):
        assert int(near[1, :, row, 0].argmax()) == nearest(output.features[1, :, row, 0].double(), centroids)
    label = output.enlarged(near, (64, 96)).argmax(1)
    log_p = step.target.logits().double().log_softmax(1)
    total = 0.0
    for image in range(2):
        for row in range(64):
            for column in range(96):
                total -= log_p[image, label[image, row, column], row, column].item()
    found = term.losses(step)["shot_pseudo"].item()
    assert found == pytest.approx(0.4 * total / (2 * 64 * 96), rel=1e-4)


def test_a_class_without_a_centroid_labels_nothing():
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).t()[None, :, :, None]
    centroids = torch.tensor([[-1.0, -0.2], [1.0, 0.0], [0.0, 0.0]])
    near = similarity(features, centroids, torch.tensor([True, False, False]))
    assert near.argmax(1).flatten().tolist() == [0, 0]
    assert near[0, :, 0, 0].tolist() == pytest.approx([-1 / math.sqrt(1.04), -2.0, -2.0])


def test_settings_are_checked(tiny_recipe):
    with pytest.raises(UserError, match="diversity must be at least 0"):
        InformationMaximisation(diversity=-1.0)
    with pytest.raises(UserError, match=r"Centroid labels are made in rounds, .* add `\*rounds"):
        tiny_recipe(SourceFree(regularizers=(CentroidLabels(),)))
