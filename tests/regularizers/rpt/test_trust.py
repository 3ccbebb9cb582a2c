"""Whose region labels are believed, and what they say against the others."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch

from da_toolkit.data.labels import CITYSCAPES19, IGNORE
from da_toolkit.errors import UserError
from da_toolkit.methods import SourceOnly
from da_toolkit.recipe import Schedule, Stage, rounds
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.regularizers.rpt.regions import RegionRows, RegionTable
from da_toolkit.regularizers.rpt.trust import believed_labels, cluster_agreement, label_prior, logit_adjusted
from da_toolkit.terms.categories import Categories
from da_toolkit.terms.step import Step
from da_toolkit.training.state import load_state, state_of

OFF = SpatialLogic(weight=0.0)
SMALL = RPT(
    Patch(1.0, threshold=0.0), Cluster(threshold=0.0, clusters=8, components=4), OFF, Superpixels(12), trust=0.0
)


def table_of(votes):
    """One image whose regions have these votes."""
    table = RegionTable(RegionRows([len(votes)], torch.device("cpu")), len(votes[0]))
    table.votes[:-1] = torch.tensor(votes, dtype=torch.int32)
    return table


def test_agreement_is_the_share_of_lookalikes_that_are_called_the_same():
    table = table_of([[10, 0, 0], [6, 4, 0], [0, 5, 0], [0, 0, 0], [0, 30, 0]])
    assignment = torch.tensor([0, 0, 0, 1, 1])
    # Cluster 0 has 20 pixels in regions called 0 and 5 called 1; cluster 1 has 30 called 1; one was not seen.
    expected = [20 / 25, (5 * 5 / 25 + 30 * 1) / 35, 0.0]
    assert cluster_agreement(table, assignment).tolist() == pytest.approx(expected)


def test_agreement_equals_a_loop_over_pixels():
    generator = torch.Generator().manual_seed(0)
    votes = torch.randint(0, 50, (40, 5), generator=generator)
    assignment = torch.randint(0, 6, (40,), generator=generator)
    dominant, pixels = votes.argmax(1).tolist(), votes.sum(1).tolist()
    expected = []
    for category in range(5):
        mine = [region for region in range(40) if dominant[region] == category]
        total = 0.0
        for region in mine:
            alike = [other for other in range(40) if assignment[other] == assignment[region]]
            same = sum(pixels[other] for other in alike if dominant[other] == category)
            total += pixels[region] * same / sum(pixels[other] for other in alike)
        expected.append(total / max(1, sum(pixels[region] for region in mine)))
    assert cluster_agreement(table_of(votes.tolist()), assignment).tolist() == pytest.approx(expected)


def test_a_label_says_nothing_against_categories_without_labels():
    logits = torch.randn(1, 4, 2, 2, requires_grad=True)
    loss = -logit_adjusted(logits.log_softmax(1), torch.tensor([0.25, 0.0, 0.25, 0.5]))[:, 2].mean()
    weighed = logits[:, [0, 2, 3]].exp() * torch.tensor([1.0, 1.0, 2.0])[:, None, None]
    expected = -(weighed[:, 1] / weighed.sum(1)).log().mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    torch.testing.assert_close(logits.grad[:, 1], torch.zeros(1, 2, 2), atol=1e-7, rtol=0)
    assert logits.grad[:, 0].abs().min() > 0


def test_without_strength_only_categories_without_labels_are_left_out():
    logits = torch.randn(1, 4, 2, 2)
    found = logit_adjusted(logits.log_softmax(1), torch.tensor([0.2, 0.0, 0.7, 0.1]), strength=0.0)
    torch.testing.assert_close(found[:, [0, 2, 3]], logits[:, [0, 2, 3]].log_softmax(1))
    assert (found[:, 1] == -torch.inf).all()


def test_labels_of_equal_shares_are_learned_as_they_are():
    sure = torch.randn(2, 3, 2, 2).log_softmax(1)
    torch.testing.assert_close(logit_adjusted(sure, torch.full((3,), 1 / 3)), sure)


def test_a_rare_label_asks_for_more_than_a_frequent_one():
    undecided = torch.zeros(1, 2, 1, 1).log_softmax(1)
    frequent, rare = -logit_adjusted(undecided, torch.tensor([0.9, 0.1])).flatten()
    assert frequent.item() == pytest.approx(-math.log(0.9)) and rare.item() == pytest.approx(-math.log(0.1))


def test_shares_are_of_the_pixels_of_labelled_regions():
    table = table_of([[10, 0, 0], [6, 4, 0], [0, 5, 0], [0, 0, 0], [0, 0, 30]])
    labels = torch.tensor([0, 1, 0, 2, IGNORE, IGNORE], dtype=torch.uint8)
    assert label_prior(table, labels).tolist() == pytest.approx([15 / 25, 10 / 25, 0])
    assert label_prior(table, torch.full_like(labels, IGNORE)).tolist() == [0, 0, 0]


def test_labels_of_doubted_categories_are_left_out():
    labels = torch.tensor([0, 1, IGNORE, 2], dtype=torch.uint8)
    believed = torch.tensor([True, False, True])
    assert believed_labels(labels, believed).tolist() == [0, IGNORE, IGNORE, 2]


def test_a_category_is_as_likely_as_its_classes_together():
    categories = Categories(CITYSCAPES19, "category")
    probabilities = torch.rand(2, 19, 3, 3).softmax(1)
    merged = categories.probabilities(probabilities)
    assert categories.names[0] == "flat" and categories.members[0] == (0, 1)
    torch.testing.assert_close(merged[:, 0], probabilities[:, 0] + probabilities[:, 1])
    torch.testing.assert_close(categories.log_probabilities(probabilities.log()), merged.log())
    label = torch.tensor([0, 1, 2, 18, IGNORE])
    assert categories.labels(label).tolist() == [0, 0, 1, 6, IGNORE]
    assert categories.shown(torch.tensor([0, 1, 6, IGNORE], dtype=torch.uint8)).tolist() == [0, 2, 13, IGNORE]


def test_level_class_changes_nothing():
    categories = Categories(CITYSCAPES19, "class")
    probabilities = torch.rand(1, 19, 2, 2)
    assert categories.probabilities(probabilities) is probabilities
    assert categories.labels(torch.tensor([0, 18, IGNORE])).tolist() == [0, 18, IGNORE]


def after_rounds(tiny_trainer, regularizer):
    trainer = untrained(tiny_trainer, regularizer)
    logged = []
    trainer.fit(lambda step, losses, rate: logged.append(losses), 1)
    return trainer, logged


def untrained(tiny_trainer, regularizer):
    return tiny_trainer(SourceOnly(regularizers=(regularizer,)), schedule=Schedule(rounds(1, 2)))


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_the_loss_is_that_of_the_categories(tiny_trainer, balance):
    settings = dataclasses.replace(SMALL, cluster=Cluster(weight=0.0), balance=balance)
    trainer = untrained(tiny_trainer, settings)
    term, step = trainer.terms[-1], Step(trainer.network, *trainer.images.next())
    table = RegionTable(RegionRows(trainer.images.region_index().counts, torch.device("cpu")), 7)
    table.votes[:-1, 0] = torch.arange(1, table.rows.total + 1)  # pixels of each region
    labels = torch.tensor([0, 2, 5, IGNORE] * table.rows.total)[: table.rows.total + 1].byte()
    term.rows = table.rows
    term._set_labels({"patch": labels}, table)
    pixels = Counter()
    for region in range(table.rows.total):
        pixels[int(labels[region])] += region + 1
    assert len(pixels) == 4 and pixels.pop(IGNORE) > 0
    found = term.losses(step)["rpt_patch"]
    probabilities = step.target.logits().softmax(1)
    total, count = 0.0, 0
    rows = term.rows.of(step.target.batch.index, step.target.regions)
    for image, y, x in np.ndindex(*rows.shape):
        label = int(labels[rows[image, y, x]])
        if label != IGNORE:
            own = {
                category: (seen / pixels.total()) ** balance
                * probabilities[image, list(term.categories.members[category]), y, x].sum().item()
                for category, seen in pixels.items()
            }
            total, count = total - math.log(own[label] / sum(own.values())), count + 1
    assert count > 0 and total > 0 and found.item() == pytest.approx(total / count, rel=1e-4)


def test_what_is_not_believed_is_not_learned_and_is_told(tiny_trainer):
    term = untrained(tiny_trainer, dataclasses.replace(SMALL, trust=0.5)).terms[-1]
    table = table_of([[90, 10, 0, 0, 0, 0, 0], [0, 60, 0, 0, 0, 0, 0], [90, 0, 0, 0, 0, 0, 0], [0, 9, 0, 0, 0, 0, 0]])
    table.mass[:-1] = table.votes[:-1].float()
    term.assignment = torch.tensor([0, 0, 0, 0])
    term._freeze(table)
    # All look alike: 190 of 259 pixels lie in regions called flat, 69 in those called construction.
    assert term.numbers()["rpt_trust_flat"] == pytest.approx(190 / 259)
    assert term.numbers()["rpt_trust_construction"] == pytest.approx(69 / 259)
    assert term.labels["patch"].tolist() == [0, IGNORE, 0, IGNORE, IGNORE]
    assert term.labels["cluster"].tolist() == [0, 0, 0, 0, IGNORE]
    assert [prior.tolist() for prior in term.priors.values()] == 2 * [[1] + 6 * [0]]


def test_where_nothing_is_believed_nothing_is_learned(tiny_trainer):
    trainer = untrained(tiny_trainer, dataclasses.replace(SMALL, trust=1.0))
    term, step = trainer.terms[-1], Step(trainer.network, *trainer.images.next())
    table = RegionTable(RegionRows(trainer.images.region_index().counts, torch.device("cpu")), 7)
    table.votes[0::2, 0] = table.votes[1::2, 1] = 5
    table.mass[:] = table.votes.float()
    term.rows, term.assignment = table.rows, torch.zeros(table.rows.total, dtype=torch.int64)
    term._freeze(table)
    assert set(term.labels) == {"patch", "cluster"} and term.losses(step) == {}


def test_what_labels_learn_against_is_resumed(tiny_trainer):
    trainer, _ = after_rounds(tiny_trainer, dataclasses.replace(SMALL, trust=0.4))
    prior = torch.tensor([0.5, 0.3, 0, 0, 0, 0, 0.2])
    trainer.terms[-1].priors = {"patch": prior}
    again = tiny_trainer(trainer.recipe.method, schedule=trainer.recipe.schedule)
    load_state(again, state_of(trainer))
    its = again.terms[-1].priors
    assert its.keys() == {"patch"} and its["patch"].tolist() == prior.tolist()


def test_a_balance_below_0_is_told():
    with pytest.raises(UserError, match="balance must be at least 0, got -1"):
        RPT(balance=-1)


def test_clusters_are_made_for_trust_alone(tiny_trainer):
    patch_alone = dataclasses.replace(SMALL, cluster=dataclasses.replace(SMALL.cluster, weight=0.0), trust=0.3)
    trainer, _ = after_rounds(tiny_trainer, patch_alone)
    assert trainer.terms[-1].assignment is not None and "cluster" not in trainer.terms[-1].labels
    assert not dataclasses.replace(patch_alone, trust=0.0).clustered


def test_a_trust_out_of_range_is_refused():
    with pytest.raises(UserError, match=r"rpt\.trust lies in 0\.\.1, got 3"):
        RPT(trust=3.0)


def test_stages_before_the_rounds_are_silent(tiny_trainer):
    method = SourceOnly(regularizers=(SMALL,))
    trainer = tiny_trainer(method, schedule=Schedule((Stage("warm-up", 1), *rounds(1, 1))))
    logged = []
    trainer.fit(lambda step, losses, rate: logged.append(losses), 1)
    assert "rpt_cluster" not in logged[0] and "rpt_cluster" in logged[1]
