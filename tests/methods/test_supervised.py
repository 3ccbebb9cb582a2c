import math

import numpy as np
import pytest
import torch
from tester import step_of

from da_toolkit.errors import UserError
from da_toolkit.methods import Adversarial, Masking, MeanTeacher, Oracle, PseudoLabels, SourceOnly
from da_toolkit.methods.supervised import balanced_weights
from da_toolkit.models.grid import summarized
from da_toolkit.terms.cross_entropy import segmentation_loss
from da_toolkit.terms.step import View


def test_mean_cross_entropy_over_labelled_pixels():
    logits = torch.tensor([[[[0.0, 1.0, 5.0]], [[0.0, 3.0, -2.0]]]])  # [1,2,1,3]
    label = torch.tensor([[[0, 1, 255]]])
    by_hand = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    torch.testing.assert_close(segmentation_loss(logits, label), torch.tensor(by_hand))


def test_the_auxiliary_level_counts_a_tenth(tiny_trainer):
    trainer = tiny_trainer(SourceOnly())
    trainer.model.eval()
    step = step_of(trainer)
    losses = trainer.terms[0].losses(step)
    expected = 0.1 * segmentation_loss(step.source.logits("aux"), step.source.label)
    torch.testing.assert_close(losses["seg_aux"], expected)


def test_no_auxiliary_loss_without_the_level(tiny_trainer):
    trainer = tiny_trainer(SourceOnly(), aux=False)
    assert set(trainer.terms[0].losses(step_of(trainer))) == {"seg"}


def test_a_weighted_mean_divides_by_the_weights_of_its_pixels():
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    label = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    label[0, 0] = 255
    weights = torch.tensor([1.0, 4.0, 0.5])
    total, mass = 0.0, 0.0
    for b, y, x in np.ndindex(2, 4, 5):
        if label[b, y, x] != 255:
            weight = weights[label[b, y, x]]
            total -= weight * logits[b, :, y, x].log_softmax(0)[label[b, y, x]]
            mass += weight
    torch.testing.assert_close(segmentation_loss(logits, label, weights), total / mass)


def test_nothing_labelled_costs_nothing():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    label = torch.full((1, 2, 2), 255)
    for weights in (None, torch.ones(3)):
        loss = segmentation_loss(logits, label, weights)
        loss.backward()
        assert loss == 0 and (logits.grad == 0).all()


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 4.0, 0.5])])
def test_the_mean_may_be_over_all_pixels(weights):
    """DAFormer's: ignored pixels give 0 and count, and class weights are factors."""
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(3))
    label = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(4))
    label[0, :3] = 255
    total = 0.0
    for b in range(2):
        for h in range(4):
            for w in range(5):
                c = int(label[b, h, w])
                if c != 255:
                    total -= (1.0 if weights is None else float(weights[c])) * float(
                        logits[b, :, h, w].log_softmax(0)[c]
                    )
    assert segmentation_loss(logits, label, weights, "all").item() == pytest.approx(total / 40, rel=1e-5)
    assert segmentation_loss(logits, torch.full_like(label, 255), weights, "all") == 0


@pytest.mark.parametrize("method", [SourceOnly, Oracle, Adversarial])
def test_every_methods_labels_are_averaged_as_it_says(method, tiny_trainer):
    def half_ignored(label):
        label = label.clone()
        label[:, ::2] = 255
        return label

    found = {}
    for average in ("labelled", "all"):
        trainer = tiny_trainer(method(average=average), forbid=method is not Oracle)
        trainer.model.eval()
        step = step_of(trainer, half_ignored, target_labels=method is Oracle)
        view = step.target if method is Oracle else step.source
        each = torch.nn.functional.cross_entropy(view.logits(), view.label, ignore_index=255, reduction="none")
        losses = trainer.terms[0].losses(step)
        found[average] = losses
        expected = each.mean() if average == "all" else each.sum() / (view.label != 255).sum()
        torch.testing.assert_close(losses["seg"], expected)
    for name in ("seg", "seg_aux"):
        torch.testing.assert_close(found["labelled"][name], 2 * found["all"][name])


def test_every_level_may_be_taught_at_the_head(tiny_trainer):
    trainer = tiny_trainer(SourceOnly(labels_at="head"))
    trainer.model.eval()
    step, losses = seen_in_a_step(trainer)
    output = step.source.output
    label = summarized(step.source.label, output.logits.shape[2:], output.align_corners, 19)
    torch.testing.assert_close(losses["seg"], segmentation_loss(output.logits, label))
    label = summarized(step.source.label, output.aux_logits.shape[2:], output.align_corners, 19)
    torch.testing.assert_close(losses["seg_aux"], 0.1 * segmentation_loss(output.aux_logits, label))


@pytest.mark.parametrize("level", ["class", "category"])
def test_labels_of_self_training_may_be_taught_at_the_head(tiny_trainer, level, monkeypatch):
    """Each term's loss is that of logits of the head's size, with labels of the whole image."""
    teacher = MeanTeacher(masking=Masking(block=16), start=0.0, level=level)
    method = SourceOnly(regularizers=(teacher, PseudoLabels()), labels_at="head")
    trainer = tiny_trainer(method, steps=2, rounds=True)
    taught, supervised = [], View.supervised

    def watched(view, loss, *maps, level="main"):
        def seen(logits, *maps):
            taught.append((logits.shape[2:], [one.shape[1:] for one in maps]))
            return loss(logits, *maps)

        assert all(one.shape[1:] == view.batch.image.shape[2:] for one in maps)
        return supervised(view, seen, *maps, level=level)

    monkeypatch.setattr(View, "supervised", watched)
    step, losses = seen_in_a_step(trainer)
    assert {"seg", "mix", "masked"} <= set(losses) and len(taught) >= 4
    size = step.source.output.logits.shape[2:]
    for logits, maps in taught:
        assert logits == size and all(found == size for found in maps)


def seen_in_a_step(trainer):
    """The step that terms are given in the trainer's last stage, and the losses of all."""
    seen, losses = [], {}

    def watch(given):
        def watched(step):
            found = given(step)
            seen.append(step)
            losses.update({name: loss.detach() for name, loss in found.items()})
            return found

        return watched

    for term in trainer.terms:
        term.losses = watch(term.losses)
    for stage in trainer.recipe.schedule.stages:
        trainer.begin(stage)
    trainer.step()
    return seen[0], losses


def test_balanced_weights():
    labels = [np.array([[0, 0, 0, 1], [255, 255, 0, 0]], np.uint8)]  # 5/6 and 1/6; class 2 is absent
    weights = balanced_weights(iter(labels), 3, power=0.5)
    assert weights[1] / weights[0] == pytest.approx(math.sqrt(5))
    assert weights[0] * 5 / 6 + weights[1] / 6 == pytest.approx(1)
    assert weights[2] / weights[0] == pytest.approx(math.sqrt(5 / 6 / 1e-4))
    assert balanced_weights(iter(labels), 3, power=0.0).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("method", [SourceOnly(class_balance=0.5), Oracle(class_balance=0.5)])
def test_weights_are_counted_on_the_domain_trained_on(method, tiny_trainer):
    trainer = tiny_trainer(method, steps=1, forbid=isinstance(method, SourceOnly))
    data = trainer.images.target if isinstance(method, Oracle) else trainer.images.source
    trainer.fit(lambda *_: None)
    expected = balanced_weights((data._label(i) for i in range(len(data))), 19, 0.5)
    torch.testing.assert_close(trainer.terms[0].weights.values, expected)
    assert (expected[[0, 2, 10]] != expected[1]).any()


def test_target_labels_stay_closed_to_terms_that_do_not_name_them(tiny_trainer):
    trainer = tiny_trainer(SourceOnly())
    context = trainer.context(trainer.recipe.schedule.stages[0])
    with pytest.raises(UserError, match="asks for target labels"):
        context.labels("target")
