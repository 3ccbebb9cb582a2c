"""RPT in the trainer: silent in the warm-up, refreshed per round, clusters and logic kept, part of any method."""

import copy
import dataclasses
import warnings

import pytest
import torch
from tester import step_of
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.methods import Adversarial, Oracle, SourceOnly, TargetBN
from da_toolkit.notices import Notice
from da_toolkit.recipe import AdamW, Schedule, Stage, rounds
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.terms.term import Reads
from da_toolkit.training.state import load_state, state_of

ROUNDS = Schedule((Stage("warm-up", 2), *rounds(2, 2)))
SMALL = {
    "patch": Patch(1.0, threshold=0.0),
    "cluster": Cluster(threshold=0.0, clusters=8, components=4),
    "logic": SpatialLogic(weight=1.0, steps=5, width=8, threshold=0.5),
}
METHODS = [SourceOnly, TargetBN, Adversarial]


def rpt(*parts):
    weights = {name: float(name in parts) for name in SMALL}
    kept = {name: dataclasses.replace(part, weight=weights[name]) for name, part in SMALL.items()}
    return RPT(**kept, regions=Superpixels(12), level="class", trust=0.0)


def trained(tiny_trainer, regularizer, method=SourceOnly, after=lambda trainer: None, **changes):
    trainer = tiny_trainer(method(regularizers=(regularizer,)), schedule=ROUNDS, **changes)
    logged = []
    trainer.fit(lambda step, losses, rate: logged.append(losses), 1, after_step=lambda step: after(trainer))
    return trainer, logged


@pytest.mark.parametrize("method", METHODS)
def test_it_joins_any_method_after_the_warm_up(method, tiny_trainer):
    _, logged = trained(tiny_trainer, rpt("patch", "cluster", "logic"), method)
    names = {"rpt_patch", "rpt_cluster", "rpt_logic"}
    for step, losses in enumerate(logged):
        assert names & set(losses) == (names if step >= 2 else set())
        assert all(torch.isfinite(torch.tensor(list(losses.values()))))
    assert logged[-1]["rpt_patch"] > 0 and logged[-1]["rpt_cluster"] > 0


def test_class_balance_weighs_true_labels_alone(tiny_trainer):
    """Frozen labels have a balance of their own, that of docs/rpt.md."""
    losses = []
    for balance in (0.0, 0.5):
        method = SourceOnly(regularizers=(rpt("patch", "cluster"),), class_balance=balance)
        trainer = tiny_trainer(method, schedule=Schedule(rounds(1, 1)))
        trainer.fit(lambda step, found, rate: losses.append(found), log_every=1)
    plain, balanced = losses
    assert balanced["seg"] != plain["seg"]
    assert balanced["rpt_patch"] == plain["rpt_patch"] and balanced["rpt_cluster"] == plain["rpt_cluster"]


@pytest.mark.parametrize("part", list(SMALL))
def test_each_constraint_alone(part, tiny_trainer):
    _, logged = trained(tiny_trainer, rpt(part))
    assert {name for name in logged[-1] if name.startswith("rpt")} == {f"rpt_{part}"}


def test_losses_equal_a_plain_reference(tiny_trainer):
    trainer, _ = trained(tiny_trainer, rpt("patch", "cluster"))
    term, step = trainer.terms[-1], step_of(trainer)
    target = trainer.images.target
    every = [torch.from_numpy(trainer.images.regions(target.image(index))) for index in range(len(target))]
    maps = torch.stack(every[:2])
    step.target.batch = dataclasses.replace(step.target.batch, regions=maps)
    losses = term.losses(step)
    for name in ("patch", "cluster"):
        named = torch.zeros(step.target.logits().shape[1])
        for index, regions in enumerate(every):
            for region in range(int(regions.max()) + 1):
                label = int(term.labels[name][int(term.rows.offsets[index]) + region])
                if label != 255:
                    named[label] += (regions == region).sum()
        weighed = step.target.logits().softmax(1) * (named / named.sum())[:, None, None]
        logp = (weighed / weighed.sum(1, keepdim=True)).log()
        total, pixels = 0.0, 0
        for image in (0, 1):
            for region in range(int(maps[image].max()) + 1):
                label = int(term.labels[name][int(term.rows.offsets[image]) + region])
                inside = maps[image] == region
                if label != 255:
                    total -= logp[image, label][inside].sum()
                    pixels += int(inside.sum())
        torch.testing.assert_close(losses[f"rpt_{name}"], total / pixels)


def test_votes_are_refreshed_every_round_and_clusters_are_not(tiny_trainer):
    seen = []

    def look(trainer):
        term = trainer.terms[-1]
        if term.labels:
            seen.append((copy.deepcopy(term.labels), term.assignment.clone(), copy.deepcopy(term.logic.state_dict())))

    fast = AdamW(lr=2e-2, head_multiplier=1)  # the network is to decide otherwise within two steps
    trained(tiny_trainer, rpt("patch", "cluster", "logic"), after=look, optimizer=fast)
    first, last = seen[0], seen[-1]
    assert (first[1] == last[1]).all()
    torch.testing.assert_close(first[2], last[2], rtol=0, atol=0)
    assert any((first[0][name] != last[0][name]).any() for name in ("patch", "cluster"))


def test_region_labels_are_those_of_the_network_at_the_rounds_start(tiny_trainer):
    trainer = tiny_trainer(SourceOnly(regularizers=(rpt("patch"),)), schedule=Schedule(rounds(1, 1)))
    trainer.model.eval()
    images = [torch.from_numpy(trainer.images.target.image(i)).permute(2, 0, 1)[None] / 255 for i in range(6)]
    with torch.no_grad():
        decided = [F.interpolate(trainer.model(x).logits, (64, 96), mode="bilinear").argmax(1)[0] for x in images]
    trainer.fit(lambda *_: None)
    term = trainer.terms[-1]
    for image, pixels in enumerate(decided):
        maps = torch.from_numpy(trainer.images.regions(trainer.images.target.image(image)))
        for region in range(int(maps.max()) + 1):
            votes = torch.bincount(pixels[maps == region], minlength=19)
            assert term.labels["patch"][int(term.rows.offsets[image]) + region] == votes.argmax()


def test_state_brings_everything_back(tiny_trainer):
    trainer, _ = trained(tiny_trainer, rpt("patch", "cluster", "logic"))
    state = copy.deepcopy(state_of(trainer))
    other = tiny_trainer(SourceOnly(regularizers=(rpt("patch", "cluster", "logic"),)), schedule=ROUNDS, seed=5)
    load_state(other, state)
    torch.testing.assert_close(other.players.state_dict(), state["terms"], rtol=0, atol=0)
    maps = torch.stack([torch.from_numpy(trainer.images.regions(trainer.images.target.image(i))) for i in (0, 1)])
    found = []
    for each in (trainer, other):
        each.model.eval()
        step = step_of(each)
        step.target.batch = dataclasses.replace(step.target.batch, regions=maps)
        found.append(each.terms[-1].losses(step))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_more_clusters_than_regions_is_told(tiny_trainer, monkeypatch, tmp_path):
    monkeypatch.setenv("DA_TOOLKIT_CACHE", str(tmp_path))
    few = RPT(Patch(weight=0), Cluster(clusters=5000, components=4), SpatialLogic(weight=0), Superpixels(12))
    with pytest.warns(UserWarning, match="fewer than cluster.clusters=5000"):
        trained(tiny_trainer, few)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the second run reads the cache and has nothing to say
        trained(tiny_trainer, few)


def test_a_schedule_without_rounds_is_refused(tiny_recipe):
    with pytest.raises(UserError, match=r"rounds\(3"):
        tiny_recipe(SourceOnly(regularizers=(rpt("patch"),)))


def test_with_all_constraints_off_it_is_as_if_it_were_not_there(tiny_trainer):
    off, _ = trained(tiny_trainer, rpt())
    without = tiny_trainer(SourceOnly(), schedule=ROUNDS)
    without.fit(lambda *_: None)
    assert off.images.regions is None and not off.numbers()
    torch.testing.assert_close(off.model.state_dict(), without.model.state_dict(), rtol=0, atol=0)


def test_the_oracle_reads_no_source_labels_for_the_logic(tiny_recipe):
    with pytest.raises(UserError, match=r"set logic.weight to 0"):
        tiny_recipe(Oracle(regularizers=(rpt("patch", "logic"),)), schedule=ROUNDS)
    tiny_recipe(Oracle(regularizers=(rpt("patch"),)), schedule=ROUNDS)


def test_a_negative_weight_is_refused(tiny_recipe):
    with pytest.raises(UserError, match=r"method\.regularizers\.0\.logic\.weight is -1\.0: below 0"):
        tiny_recipe(SourceOnly(regularizers=(RPT(logic=SpatialLogic(weight=-1.0)),)))


def test_two_kinds_of_superpixels_are_refused():
    other = RPT(regions=Superpixels(7))
    with pytest.raises(UserError, match="different superpixels"):
        _ = SourceOnly(regularizers=(rpt("patch"), other)).superpixels


def test_all_constraints_off_is_told():
    off = RPT(Patch(0), Cluster(weight=0), SpatialLogic(weight=0))
    with pytest.warns(Notice, match=r"RPT does nothing: patch\.weight, cluster\.weight and logic\.weight are all 0"):
        off.check([Stage("round 1", 10, round=1)], Reads())
