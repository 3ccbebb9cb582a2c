"""The loop: stages, accumulation, clipping, precision, and two ranks against one."""

import pytest
import torch
from ranks import gradients, two_ranks

from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import UserError
from da_toolkit.methods import Adversarial, SourceOnly
from da_toolkit.models.deeplab import DeepLabV2
from da_toolkit.recipe import SGD, Schedule, Stage, rounds
from da_toolkit.terms.term import Term

FROZEN = DeepLabV2("test_resnet", 16, "none", batch_norm="frozen")
PLAIN = {"model": FROZEN, "source_augmentation": Augmentation(), "optimizer": SGD(lr=0.05, head_multiplier=1)}


def state(trainer):
    return torch.cat([tensor.flatten().float() for tensor in trainer.model.state_dict().values()])


def test_stages_run_in_order_and_terms_are_told_once_each(tiny_trainer):
    schedule = Schedule((Stage("warm-up", 2), *rounds(2, 1)))
    trainer = tiny_trainer(SourceOnly(), schedule=schedule)
    told, shown, reports = [], [], []

    class Listener(Term):
        def begin_stage(self, stage):
            told.append((stage.stage.name, stage.stage.round, trainer.done))
            assert sum(len(batch.index) for batch in stage.target_pass()) == len(trainer.images.target)

    trainer.terms.append(Listener())
    trainer.fit(lambda step, losses, rate: reports.append(step), log_every=2, on_stage=shown.append)
    assert told == [("warm-up", 0, 0), ("round 1", 1, 2), ("round 2", 2, 3)]
    assert shown == ["warm-up", "round 1", "round 2"] and reports == [2, 4]


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (lambda found: found.amax(1), r"'own' has the shape \(2, 64, 96\).* return its mean"),
        (lambda found: found.mean().item(), r"'own' is 0\.\d+, and a loss is a tensor of one number"),
        (lambda found: found.mean().detach(), r"No loss \(own\) depends on the network, so"),
    ],
)
def test_a_loss_that_cannot_be_lowered_is_named(tiny_trainer, own, told):
    class Own(Term):
        def losses(self, step):
            return {"own": own(step.source.probabilities())}

    trainer = tiny_trainer(SourceOnly())
    trainer.terms[:] = [Own()]
    with pytest.raises(UserError, match=told):
        trainer.fit(lambda *_: None)


def test_accumulating_two_batches_equals_one_of_twice_the_size(tiny_trainer):
    """With fixed batch-norm statistics the mean of two batches' gradients is the whole batch's gradient.

    The toy labels every pixel, so both means weigh pixels alike.
    """
    big = tiny_trainer(SourceOnly(), steps=3, batch_size=4, **PLAIN)
    small = tiny_trainer(SourceOnly(), steps=3, batch_size=2, accumulate=2, **PLAIN)
    start = state(big).clone()
    assert torch.equal(start, state(small))
    for trainer in (big, small):
        trainer.fit(lambda *_: None)
    torch.testing.assert_close(state(big), state(small), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(start, state(big))


def test_clipping_bounds_the_step(tiny_trainer):
    clipped = SGD(lr=1.0, head_multiplier=1, momentum=0, weight_decay=0, clip=1e-3)
    trainer = tiny_trainer(SourceOnly(), steps=1, **{**PLAIN, "optimizer": clipped})
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.fit(lambda *_: None)
    moved = torch.cat([(p - q).flatten() for p, q in zip(trainer.model.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_a_step_without_losses_leaves_the_network_alone(tiny_trainer, monkeypatch):
    """A scaler of half precision takes a step or a clipping without gradients for a mistake, and raises."""
    clipped = SGD(lr=1.0, head_multiplier=1, momentum=0, weight_decay=0.5, clip=1e-3)
    trainer = tiny_trainer(SourceOnly(), steps=1, **{**PLAIN, "optimizer": clipped})
    monkeypatch.setattr(trainer.terms[0], "losses", lambda step: {})
    for owner, name in ((trainer.optimizer, "step"), (trainer.fabric, "clip_gradients")):
        monkeypatch.setattr(owner, name, lambda *_, name=name, **__: pytest.fail(f"{name} without gradients"))
    before = state(trainer).clone()
    assert trainer.step() == {} and trainer.done == 1
    assert torch.equal(state(trainer), before)


def test_same_seed_same_weights_other_seed_other_weights(tiny_trainer):
    runs = []
    for seed in (0, 0, 1):
        trainer = tiny_trainer(Adversarial(), steps=2, seed=seed)
        trainer.fit(lambda *_: None)
        runs.append(state(trainer))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_two_terms_with_one_loss_name_are_refused(tiny_trainer):
    trainer = tiny_trainer(SourceOnly())
    trainer.terms.append(trainer.terms[0])
    with pytest.raises(UserError, match="Supervised and Supervised both name something 'seg'"):
        trainer.fit(lambda *_: None)


@pytest.mark.parametrize("precision", ["bf16-mixed"])
def test_mixed_precision_trains(tiny_recipe, toy, precision):
    from lightning.fabric import Fabric

    from da_toolkit.training.trainer import Trainer

    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    trainer = Trainer(tiny_recipe(Adversarial(), steps=20), fabric, toy(), toy(seed=1))
    reports = []
    trainer.fit(lambda step, losses, rate: reports.append(losses["seg"]), log_every=5)
    assert reports[-1] < 0.7 * reports[0]
    assert trainer.model.head.layer.branches[0].weight.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_step_equals_the_cpu_step(tiny_recipe, toy):
    from lightning.fabric import Fabric

    from da_toolkit.training.trainer import Trainer

    found = []
    for accelerator in ("cpu", "cuda"):
        trainer = Trainer(tiny_recipe(Adversarial(), 3), Fabric(accelerator=accelerator, devices=1), toy(), toy(seed=1))
        losses = []
        trainer.fit(lambda step, values, rate, kept=losses: kept.append(values["seg"]), log_every=1)
        found.append(losses)
    assert found[0] == pytest.approx(found[1], rel=1e-2)


def test_two_ranks_equal_one_process_with_twice_the_batch(tmp_path, tiny_recipe, toy):
    """With the statistics of batch norm fixed, for the discriminator too; tests/methods does it for every method."""
    import dataclasses

    from lightning.fabric import Fabric

    from da_toolkit.training.trainer import Trainer

    recipe = dataclasses.replace(tiny_recipe(Adversarial(), steps=1), **PLAIN)

    def train(fabric, batch_size=2):
        trainer = Trainer(dataclasses.replace(recipe, batch_size=batch_size), fabric, toy(), toy(seed=1))
        trainer.fit(lambda *_: None)
        return gradients(trainer)

    found, expected = two_ranks(train, tmp_path)[0], train(Fabric(accelerator="cpu", devices=1), 4)
    assert expected.keys() == found.keys() and any(name.startswith("term.") for name in expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=1e-3, atol=1e-6 + 1e-4 * tensor.abs().max().item(), msg=name
        )


def test_every_rank_is_scored_with_the_same_batch_statistics(tmp_path, tiny_recipe, toy):
    from da_toolkit.training.trainer import Trainer

    def train(fabric):
        trainer = Trainer(tiny_recipe(Adversarial(), steps=2), fabric, toy(), toy(seed=1))
        trainer.fit(lambda *_: None)
        trainer.prepare_evaluation()
        return dict(trainer.model.named_buffers())

    first, second = two_ranks(train, tmp_path)
    assert any("running_mean" in name for name in first)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
