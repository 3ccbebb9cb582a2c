"""DAFormer's feature distance against a loop, on thing positions alone."""

import copy
import math

import pytest
import torch
from tester import step_of

from da_toolkit.data.labels import CAMVID11, CITYSCAPES19, IGNORE
from da_toolkit.methods import FeatureDistance, SourceOnly
from da_toolkit.methods.feature_distance import class_shares, feature_distance


def test_things_are_daformers_classes():
    assert CITYSCAPES19.things == (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)
    assert [CAMVID11.classes[c] for c in CAMVID11.things] == ["sign", "car", "pedestrian", "bicyclist"]


def test_shares_and_distance_equal_loops():
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (2, 8, 12), generator=generator)
    label[0, :5] = IGNORE
    shares = class_shares(label, 3, (2, 3))
    features, wanted = (torch.randn(2, 5, 2, 3, generator=generator) for _ in range(2))
    counts = shares[:, 1] > 0.3
    total = []
    for b in range(2):
        for h in range(2):
            for w in range(3):
                block = label[b, 4 * h : 4 * h + 4, 4 * w : 4 * w + 4]
                for c in range(3):
                    assert shares[b, c, h, w].item() == pytest.approx(float((block == c).float().mean()))
                if counts[b, h, w]:
                    total.append(math.dist(features[b, :, h, w].tolist(), wanted[b, :, h, w].tolist()))
    assert 0 < len(total) < 12
    assert feature_distance(features, wanted, counts).item() == pytest.approx(sum(total) / len(total), rel=1e-5)
    same = features.clone().requires_grad_()
    loss = feature_distance(same, features, counts)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5) and torch.isfinite(same.grad).all()
    assert feature_distance(features, wanted, torch.zeros_like(counts)) == 0


def test_the_frozen_network_stays_and_only_the_backbone_learns_from_it(tiny_trainer):
    trainer = tiny_trainer(SourceOnly(regularizers=(FeatureDistance(weight=1.0, share=0.0),)))
    term, step = trainer.terms[1], step_of(trainer, lambda label: torch.full_like(label, 13))
    loss = term.losses(step)["feature_distance"]
    loss.backward()
    assert loss > 0 and all(not p.requires_grad for p in term.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trainer.model.backbone.parameters())
    assert term.losses(step_of(trainer))["feature_distance"] == 0  # the toy's classes are no things


def test_training_steps_change_nothing_in_the_frozen_network(tiny_trainer):
    trainer = tiny_trainer(SourceOnly(regularizers=(FeatureDistance(weight=1.0, share=0.0),)))
    before = copy.deepcopy(trainer.terms[1].state_dict())
    trainer.fit(lambda *_: None)
    after = trainer.terms[1].state_dict()
    assert before and all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not any(module.training for module in trainer.terms[1].imagenet.modules())
