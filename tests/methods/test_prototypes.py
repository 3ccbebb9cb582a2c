"""ProDA's re-weighting and symmetric cross-entropy against loops."""

import math

import pytest
import torch
from ranks import two_ranks
from tester import batch, step_of

from da_toolkit.errors import UserError
from da_toolkit.methods import Prototypes, SourceOnly
from da_toolkit.methods.prototypes import class_sums, prototype_weights, symmetric_cross_entropy
from da_toolkit.recipe import Schedule, Stage
from da_toolkit.terms.step import Step


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
            expected = [e / sum(exps) if k else 1 / 3 for e, k in zip(exps, known, strict=True)]
            assert found[0, :, h, w].tolist() == pytest.approx(expected, rel=1e-4)


def test_a_class_unseen_in_the_pass_can_become_a_label():
    """It weighs the mean of the known, so a sure prediction of it is kept; without any known class all weigh 1."""
    features, centres = torch.zeros(1, 2, 1, 1), torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    weights = prototype_weights(features, centres, torch.tensor([True, True, False]), 1.0)
    assert weights[0, :, 0, 0].tolist() == pytest.approx([0.5, 0.5, 0.5])
    assert (torch.tensor([0.2, 0.1, 0.7]) * weights[0, :, 0, 0]).argmax() == 2
    assert (prototype_weights(features, centres, torch.zeros(3, dtype=torch.bool), 1.0) == 1).all()


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


def in_a_round(tiny_trainer, **settings):
    """A trainer at the start of its first round, and the term."""
    schedule = Schedule((Stage("warm-up", 2), Stage("round 1", 2, round=1)))
    part = Prototypes(momentum_statistics="running", **settings)  # so that the averaged network is the one in training
    trainer = tiny_trainer(SourceOnly(regularizers=(part,)), schedule=schedule)
    term = trainer.terms[1]
    assert term.losses(step_of(trainer)) == {} and term.numbers() == {}
    trainer.begin(schedule.stages[1])
    trainer.model.eval()
    return trainer, term


def test_a_pass_measures_prototypes_and_the_scale_of_distances(tiny_trainer):
    trainer, term = in_a_round(tiny_trainer)
    whole = [trainer.model(batch.image) for batch in trainer.images.target_pass()]
    sums = sum(class_sums(o.features, _coarse_label(o), 19)[0] for o in whole).detach()
    counts = sum(class_sums(o.features, _coarse_label(o), 19)[1] for o in whole)
    assert torch.equal(term.known, counts > 0) and term.numbers()["prototype_classes"] == (counts > 0).sum()
    torch.testing.assert_close(term.centres, sums / counts.clamp(min=1)[:, None])
    rows = torch.cat([o.features.permute(0, 2, 3, 1).flatten(0, 2) for o in whole]).detach()
    labels = torch.cat([_coarse_label(o).flatten() for o in whole])
    squared = [math.dist(row.tolist(), term.centres[c].tolist()) ** 2 for row, c in zip(rows, labels, strict=True)]
    assert term.scale.item() == pytest.approx(math.sqrt(sum(squared) / len(squared)), rel=1e-4)
    assert term.numbers()["prototype_scale"] == term.scale.item()
    assert {"scale", "centres", "known"} <= term.state_dict().keys()


def test_losses_are_those_of_labels_weighted_by_relative_distances(tiny_trainer):
    trainer, term = in_a_round(tiny_trainer, weight=0.5, temperature=2.0, smoothing=0.3)
    step = step_of(trainer)
    found = term.losses(step)
    output, probabilities = step.target.output, step.target.probabilities()
    near = prototype_weights(output.features, term.centres, term.known, 2.0 * term.scale.item())
    near = torch.nn.functional.interpolate(near, size=(64, 96), mode="bilinear")
    label = (probabilities * near).argmax(1)
    loss = symmetric_cross_entropy(probabilities.log(), label, 0.1, 1.0)
    torch.testing.assert_close(found["prototypes"], 0.5 * loss)
    torch.testing.assert_close(found["prototypes_smoothing"], 0.3 * -probabilities.log().mean())
    trainer, term = in_a_round(tiny_trainer, smoothing=0.0)
    assert term.losses(step_of(trainer)).keys() == {"prototypes"}


def test_the_size_of_features_does_not_decide_how_much_prototypes_count(tiny_trainer):
    """Distances of about 35, as trained networks have them, give the labels that small ones give."""
    trainer, term = in_a_round(tiny_trainer)
    small = term.losses(step_of(trainer))["prototypes"]
    forward = type(trainer.model).forward

    def large(self, images):
        output = forward(self, images)
        return output._replace(features=1000 * output.features)

    for network in (trainer.model, term.momentum.network):
        network.forward = large.__get__(network)
    trainer.begin(trainer.recipe.schedule.stages[1])
    assert term.scale > 35
    torch.testing.assert_close(term.losses(step_of(trainer))["prototypes"], small)
    nearness = prototype_weights(step_of(trainer).target.features, term.centres, term.known, term.scale)
    assert nearness.max() < 0.9


def test_prototypes_move_by_the_momentum_networks_own_decision(tiny_trainer):
    """Not by the rectified label, which they make themselves; parts of a step count as one batch."""
    trainer, term = in_a_round(tiny_trainer, prototype_momentum=0.9, momentum=1.0)
    for parameter in term.frozen.network.parameters():
        parameter.zero_()  # it would have every pixel be the first class
    before, known = term.centres.clone(), term.known.clone()
    parts = [Step(trainer.network, None, batch(trainer.images.target, chosen)) for chosen in ((0, 1), (2,))]
    sums, counts = 0, 0
    for part in parts:
        term.losses(part)
        output = part.target.output  # the momentum network is the network still
        found, number = class_sums(output.features.detach(), _coarse_label(output), 19)
        sums, counts = sums + found, counts + number
    assert (counts > 0).sum() > 1
    term.follow(trainer.model)
    for c in range(19):
        mean = sums[c] / counts[c].clamp(min=1)
        expected = before[c] if not counts[c] else 0.9 * before[c] + 0.1 * mean if known[c] else mean
        torch.testing.assert_close(term.centres[c], expected)
    assert torch.equal(term.known, known | (counts > 0))


def test_a_step_that_was_left_out_moves_no_prototype(tiny_trainer):
    trainer, term = in_a_round(tiny_trainer, prototype_momentum=0.0)
    bad = batch(trainer.images.target)
    bad.image[:] = torch.nan
    term.losses(Step(trainer.network, None, bad, index=2))
    good = Step(trainer.network, None, batch(trainer.images.target), index=3)
    term.losses(good)
    term.follow(trainer.model)
    assert term.centres.isfinite().all() and term.seen is None


def test_two_ranks_move_prototypes_as_one_process_does(tmp_path, tiny_recipe, toy):
    from lightning.fabric import Fabric

    from da_toolkit.models.deeplab import DeepLabV2
    from da_toolkit.recipe import SGD
    from da_toolkit.training.trainer import Trainer

    model = DeepLabV2("test_resnet", 16, "none", batch_norm="frozen", aux=False, dilations=(1, 2))
    method = SourceOnly(regularizers=(Prototypes(prototype_momentum=0.3),))
    settings = {"model": model, "optimizer": SGD(lr=1e-3, head_multiplier=1), "steps": 3, "rounds": True}

    def found(fabric, batch_size=2):
        trainer = Trainer(tiny_recipe(method, batch_size=batch_size, **settings), fabric, toy(), toy(seed=1, shift=30))
        trainer.fit(lambda *_: None)
        term = trainer.terms[1]
        return {"centres": term.centres, "known": term.known}

    ranks = two_ranks(found, tmp_path)
    expected = found(Fabric(accelerator="cpu", devices=1), 4)
    for name, tensor in expected.items():
        assert torch.equal(ranks[0][name], ranks[1][name])
        torch.testing.assert_close(ranks[0][name], tensor, rtol=1e-3, atol=1e-4)


def _coarse_label(output):
    probabilities = torch.nn.functional.interpolate(output.logits, size=(64, 96), mode="bilinear").softmax(1)
    return torch.nn.functional.adaptive_avg_pool2d(probabilities, output.features.shape[2:]).argmax(1)


def test_bad_settings_are_refused(tiny_recipe):
    with pytest.raises(UserError, match="temperature"):
        Prototypes(temperature=0.0)
    with pytest.raises(UserError, match="rounds"):
        tiny_recipe(SourceOnly(regularizers=(Prototypes(),)))


def test_prototypes_may_be_of_features_by_the_statistics_of_their_batches(tiny_trainer):
    from da_toolkit.models.teacher import Teacher

    trainer = tiny_trainer(SourceOnly(regularizers=(Prototypes(statistics="batch"),)), rounds=True)
    trainer.begin(trainer.recipe.schedule.stages[1])
    term, network = trainer.terms[1], Teacher(trainer.model, "batch").network
    sums, counts = torch.zeros(19, trainer.model.feature_channels), torch.zeros(19)
    with torch.no_grad():
        for batch in trainer.images.target_pass():
            output = network(batch.image)
            label = output.pooled(output.enlarged(output.logits, batch.image.shape[2:]).softmax(1)).argmax(1)
            for c in label.unique().tolist():
                own = output.features.permute(0, 2, 3, 1)[label == c]
                sums[c], counts[c] = sums[c] + own.sum(0), counts[c] + len(own)
    means = sums / counts.clamp(min=1)[:, None]
    torch.testing.assert_close(term.centres, means, rtol=1e-4, atol=1e-5)
    assert torch.equal(term.known, counts > 0)


@pytest.mark.parametrize(("frozen", "momentum"), [("running", "batch"), ("batch", "running")])
def test_both_copies_have_statistics_of_their_own(frozen, momentum, tiny_trainer):
    """ProDA labels in evaluation mode, and its averaged network stays in training mode."""
    settings = Prototypes(statistics=frozen, momentum_statistics=momentum)
    term = tiny_trainer(SourceOnly(regularizers=(settings,)), rounds=True).terms[1].train()
    for copy, statistics in ((term.frozen, frozen), (term.momentum, momentum)):
        norms = [module for module in copy.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert norms and all(norm.training == (statistics == "batch") for norm in norms)
    assert Prototypes() == Prototypes(statistics="running", momentum_statistics="batch")
