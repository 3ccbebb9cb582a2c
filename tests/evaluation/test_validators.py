"""Label-free scores against their formulas written plainly, and that they never open target labels."""

import math

import pytest
import torch

from da_toolkit.evaluation.validators import Validators, certainty, soft_neighbourhood_density


@pytest.fixture
def probabilities():
    return torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(0)).mul(2).softmax(1)


def test_certainty_equals_a_loop(probabilities):
    p = probabilities.double()
    entropies = [
        -sum(float(p[0, c, h, w]) * math.log(float(p[0, c, h, w])) for c in range(4))
        for h in range(5)
        for w in range(6)
    ]
    assert certainty(probabilities).item() == pytest.approx(1 - sum(entropies) / 30 / math.log(4), abs=1e-5)
    sure = torch.zeros(1, 4, 2, 2)
    sure[:, 1] = 1
    assert certainty(sure) == 1 and certainty(torch.full((1, 4, 2, 2), 0.25)).item() == pytest.approx(0, abs=1e-6)


def test_soft_neighbourhood_density_equals_a_loop(probabilities):
    rows = probabilities.flatten(2)[0].t().double()
    unit = [row / row.norm() for row in rows]
    entropies = []
    for i, mine in enumerate(unit):
        scores = [math.exp(float(mine @ other) / 0.05) for j, other in enumerate(unit) if j != i]
        near = [score / sum(scores) for score in scores]
        entropies.append(-sum(p * math.log(p) for p in near if p > 0))
    found = soft_neighbourhood_density(rows.float())
    assert found.item() == pytest.approx(sum(entropies) / len(entropies), rel=1e-4)


def test_dense_clusters_score_higher_than_scattered_predictions():
    generator = torch.Generator().manual_seed(0)
    scattered = torch.randn(60, 4, generator=generator).mul(3).softmax(1)
    clusters = torch.eye(4).repeat(15, 1) * 0.9 + 0.025
    assert soft_neighbourhood_density(clusters) > soft_neighbourhood_density(scattered)


def test_scores_of_a_run_never_open_target_labels_and_follow_the_network(tiny_trainer):
    from da_toolkit.methods import SourceOnly

    trainer = tiny_trainer(SourceOnly(), steps=12)
    sizes = trainer.recipe.source.size, trainer.recipe.target.size
    validators = Validators(trainer.model, trainer.images.source, trainer.images.target, sizes, 3, seed=0)
    before = validators.scores(trainer.model, torch.device("cpu"))
    assert before["teacher_agreement"] == 100
    trainer.fit(lambda *_: None, after_step=lambda step: validators.follow(trainer.model))
    modes = [module.training for module in trainer.model.modules()]
    after = validators.scores(trainer.model, torch.device("cpu"))
    assert [module.training for module in trainer.model.modules()] == modes
    assert set(after) == {"entropy", "soft_neighbourhood_density", "teacher_agreement", "source_score"}
    assert after["source_score"] > before["source_score"] + 5
    assert 0 <= after["entropy"] <= 1 and after["entropy"] > before["entropy"]
    assert after["teacher_agreement"] < 100
    assert after == validators.scores(trainer.model, torch.device("cpu"))


def test_a_target_without_labels_and_few_images_is_enough(tiny_trainer):
    from da_toolkit.methods import SourceOnly

    trainer = tiny_trainer(SourceOnly())
    sizes = trainer.recipe.source.size, trainer.recipe.target.size
    many = Validators(trainer.model, trainer.images.source, trainer.images.target, sizes, 500, seed=0)
    assert sorted(index for _, index in many.places) == list(range(len(trainer.images.target)))
