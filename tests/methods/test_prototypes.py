"""ProDA's re-weighting and symmetric cross-entropy against loops."""

import math

import pytest
import torch
from tester import step_of

from da_toolkit.errors import UserError
from da_toolkit.methods import Prototypes, SourceOnly
from da_toolkit.methods.prototypes import class_sums, prototype_weights, symmetric_cross_entropy
from da_toolkit.recipe import Schedule, Stage


def test_class_sums_equal_a_loop():
    generator = torch.Generator().manual_seed(0)
    features, label = torch.randn(2, 5, 3, 4, generator=generator), torch.randint(0, 3, (2, 3, 4), generator=generator)
    sums, counts = class_sums(features, label, 4)
    for c in range(4):
        rows = [features[b, :, h, w] for b in range(2) for h in range(3) for w in range(4) if label[b, h, w] == c]
        assert counts[c] == len(rows)
        expected = torch.stack(rows).sum(0) if rows else torch.zeros(5)
        torch.testing.assert_close(sums[c], expected)


def test_weights_are_a_softmax_of_negative_distances():
    generator = torch.Generator().manual_seed(0)
    features, centres = torch.randn(1, 5, 2, 3, generator=generator), torch.randn(4, 5, generator=generator)
    known = torch.tensor([True, True, False, True])
    found = prototype_weights(features, centres, known, temperature=0.7)
    for h in range(2):
        for w in range(3):
            distances = [math.dist(features[0, :, h, w].tolist(), centre.tolist()) for centre in centres]
            exps = [math.exp(-d / 0.7) if k else 0.0 for d, k in zip(distances, known, strict=True)]
            assert found[0, :, h, w].tolist() == pytest.approx([e / sum(exps) for e in exps], rel=1e-4)


def test_symmetric_cross_entropy_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    logits, label = torch.randn(1, 3, 2, 4, generator=generator), torch.randint(0, 3, (1, 2, 4), generator=generator)
    total = 0.0
    for h in range(2):
        for w in range(4):
            p = logits[0, :, h, w].double().softmax(0).tolist()
            y = [1.0 if c == label[0, h, w] else 1e-4 for c in range(3)]
            total += 0.1 * -math.log(p[label[0, h, w]]) + 1.0 * -sum(p[c] * math.log(y[c]) for c in range(3))
    found = symmetric_cross_entropy(logits.log_softmax(1), label, 0.1, 1.0)
    assert found.item() == pytest.approx(total / 8, rel=1e-5)


def test_the_loss_and_the_moving_prototypes(tiny_trainer):
    schedule = Schedule((Stage("warm-up", 2), Stage("round 1", 2, round=1)))
    settings = Prototypes(weight=0.5, temperature=2.0, prototype_momentum=0.9)
    trainer = tiny_trainer(SourceOnly(regularizers=(settings,)), schedule=schedule)
    term = trainer.terms[1]
    assert term.losses(step_of(trainer)) == {}
    trainer.begin(schedule.stages[1])
    trainer.model.eval()
    whole = [trainer.model(batch.image) for batch in trainer._target_pass()]
    sums = sum(class_sums(o.features, _coarse_label(o), 19)[0] for o in whole).detach()
    counts = sum(class_sums(o.features, _coarse_label(o), 19)[1] for o in whole)
    assert torch.equal(term.known, counts > 0) and term.numbers()["prototype_classes"] == (counts > 0).sum()
    torch.testing.assert_close(term.centres, sums / counts.clamp(min=1)[:, None])

    step = step_of(trainer)
    found = term.losses(step)["prototypes"]
    output, probabilities = step.target.output, step.target.probabilities()
    near = prototype_weights(output.features, term.centres, term.known, 2.0)
    near = torch.nn.functional.interpolate(near, size=(64, 96), mode="bilinear")
    label = (probabilities * near).argmax(1)
    torch.testing.assert_close(found, 0.5 * symmetric_cross_entropy(probabilities.log(), label, 0.1, 1.0))
    before, (features, coarse) = term.centres.clone(), term.seen
    term.update(step)
    for c in range(19):
        rows = features.permute(0, 2, 3, 1)[coarse == c]
        expected = 0.9 * before[c] + 0.1 * rows.mean(0) if len(rows) and counts[c] else before[c]
        if counts[c] or not len(rows):
            torch.testing.assert_close(term.centres[c], expected)


def _coarse_label(output):
    probabilities = torch.nn.functional.interpolate(output.logits, size=(64, 96), mode="bilinear").softmax(1)
    return torch.nn.functional.adaptive_avg_pool2d(probabilities, output.features.shape[2:]).argmax(1)


def test_bad_settings_are_refused(tiny_recipe):
    with pytest.raises(UserError, match="temperature"):
        Prototypes(temperature=0.0)
    with pytest.raises(UserError, match="rounds"):
        tiny_recipe(SourceOnly(regularizers=(Prototypes(),)))
