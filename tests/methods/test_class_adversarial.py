"""FADA's losses against loops over positions and classes."""

import math

import pytest
import torch
from tester import step_of

from da_toolkit.methods import Adversarial, ClassWise
from da_toolkit.methods.class_adversarial import class_domain_loss, class_encoding


def test_the_loss_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    judged, encoded = torch.randn(2, 6, 2, 3, generator=generator), torch.rand(2, 3, 2, 3, generator=generator)
    for domain in (0, 1):
        total = 0.0
        for b in range(2):
            for h in range(2):
                for w in range(3):
                    scores = judged[b, :, h, w].double().exp()
                    for c in range(3):
                        p = float(scores[domain * 3 + c] / scores.sum())
                        total -= float(encoded[b, c, h, w]) * math.log(p)
        assert class_domain_loss(judged, encoded, domain).item() == pytest.approx(total / 12, rel=1e-5)


def test_the_encoding_is_a_softened_and_clipped_prediction():
    logits = torch.tensor([[9.0, 0.0, -1.0]]).view(1, 3, 1, 1)
    found = class_encoding(logits, (1, 1), temperature=1.8, clip=0.9)[0, :, 0, 0]
    exps = [math.exp(v / 1.8) for v in (9.0, 0.0, -1.0)]
    assert found.tolist() == pytest.approx([min(0.9, e / sum(exps)) for e in exps], rel=1e-5)
    assert found[0].item() == pytest.approx(0.9)


def test_the_network_fools_and_the_discriminator_tells(tiny_trainer):
    trainer = tiny_trainer(Adversarial(discriminators=(ClassWise(weight=0.4, width=8),)))
    trainer.model.eval()
    term, step = trainer.terms[1], step_of(trainer)
    judged = {}
    for name, view in (("source", step.source), ("target", step.target)):
        features = view.features
        encoded = class_encoding(view.output.logits, features.shape[2:], 1.8, 0.9)
        judged[name] = term.discriminator(features), encoded.detach()
    fooled = term.losses(step)["adv_class"]
    torch.testing.assert_close(fooled, 0.4 * class_domain_loss(*judged["target"], 0))
    fooled.backward()
    assert all(p.grad is None for p in term.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trainer.model.backbone.parameters())
    assert all(p.grad is None for p in trainer.model.head.parameters())  # the encoding passes no gradient
    game = term.update(step)["disc_class"]
    expected = (class_domain_loss(*judged["source"], 0) + class_domain_loss(*judged["target"], 1)) / 2
    torch.testing.assert_close(game, expected)
