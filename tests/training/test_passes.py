"""One pass after the other goes backward: the gradient is that of the losses' sum, and less is kept at a time."""

import contextlib
import dataclasses
import gc

import pytest
import torch
from kept import Kept
from tester import METHOD_NAMES

from da_toolkit.errors import UserError
from da_toolkit.methods import Adversarial, Entropy, MeanTeacher, OutputSpace, SourceOnly
from da_toolkit.methods.feature_distance import FeatureDistance
from da_toolkit.models import HRDA, DAFormer, EoMT
from da_toolkit.registry import METHODS
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.terms.step import Step, View
from da_toolkit.terms.term import Term
from da_toolkit.training.passes import PassStep, in_order, learn

RPT_TOO = RPT(
    Patch(1.0, threshold=0.0),
    Cluster(clusters=4, components=2),
    SpatialLogic(weight=1.0, steps=3, width=8),
    Superpixels(12),
)
WITH_RPT = Adversarial(
    discriminators=(OutputSpace(weight=0.1, width=8), OutputSpace(weight=0.1, width=8, level="aux")),
    regularizers=(RPT_TOO, MeanTeacher(), FeatureDistance()),
)


def doubled(tiny_trainer, method, **changes):
    """A trainer in float64 in a round, so that all terms have something to say."""
    trainer = tiny_trainer(method, rounds=True, forbid=not method.reads.target_labels, **changes)
    trainer.model.double()
    trainer.players.double()
    for term in trainer.terms:  # those that compare teachers' features do so in float32
        for name in {"centres", "centroids", "scale"} & dict(term.named_buffers(recurse=False)).keys():
            setattr(term, name, getattr(term, name).float())
    trainer.done = trainer.recipe.schedule.stages[0].steps
    trainer.begin(trainer.recipe.schedule.stages[-1])
    trainer.model.train()
    return trainer


def batches_of(trainer):
    """A step's images, in float64, as the terms change them."""
    found = [batch and dataclasses.replace(batch, image=batch.image.double()) for batch in trainer.images.next()]
    for term in trainer.terms:
        found = term.transform(*found)
    return found


def gradients(trainer, make):
    """Of every parameter of the network that got one, after `make`; random numbers and statistics stay."""
    kept = [buffer.clone() for buffer in trainer._buffers()]
    trainer.model.zero_grad()
    with torch.random.fork_rng():
        losses = make()
    found = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
    for buffer, before in zip(trainer._buffers(), kept, strict=True):
        buffer.copy_(before)
    return losses, found


def of_the_sum(trainer, batches, scale=1.0):
    """The slow reference: all losses of all terms, added up, backward at once."""

    def make():
        step = Step(trainer.network, *batches, trainer.done, trainer.recipe.schedule.steps)
        losses = {}
        for term in trainer.terms:
            losses |= term.losses(step)
        (scale * torch.stack(list(losses.values())).sum()).backward()
        return losses

    return gradients(trainer, make)


def one_by_one(trainer, batches, scale=1.0):
    def make():
        step = PassStep(trainer.network, *batches, trainer.done, trainer.recipe.schedule.steps)
        return learn(trainer.terms, step, lambda loss: (scale * loss).backward(), contextlib.nullcontext)

    return gradients(trainer, make)


def check(trainer, scale=1.0):
    batches = batches_of(trainer)
    (losses, expected), (told, found) = of_the_sum(trainer, batches, scale), one_by_one(trainer, batches, scale)
    assert expected.keys() == found.keys() and any(slope.abs().max() > 1e-6 for slope in expected.values())
    largest = max(slope.abs().max().item() for slope in expected.values())
    for name, slope in expected.items():
        torch.testing.assert_close(found[name], slope, rtol=1e-12, atol=1e-12 * largest, msg=name)
    assert losses.keys() == told.keys() and not any(loss.requires_grad for loss in told.values())
    for name, loss in losses.items():
        torch.testing.assert_close(told[name], loss.detach(), rtol=1e-12, atol=1e-14, msg=name)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_the_gradient_of_every_method_is_that_of_its_losses_sum(tiny_trainer, name):
    check(doubled(tiny_trainer, METHODS[name].build()))


@pytest.mark.parametrize(
    "model",
    [
        HRDA(network=DAFormer("test_resnet", 16, "none", width=8, dilations=(1, 2))),
        EoMT("test_vit", 16, "none", aux=True),
    ],
    ids=["hrda", "eomt"],
)
def test_the_gradient_is_the_same_with_a_detail_crop_and_with_queries(tiny_trainer, model):
    method = SourceOnly(regularizers=(Entropy(), MeanTeacher(threshold=0.0)))
    check(doubled(tiny_trainer, method, model=model))


def test_the_gradient_of_many_terms_with_dropout_is_the_same_and_so_is_a_scaled_one(tiny_trainer, with_dropout):
    trainer = doubled(tiny_trainer, WITH_RPT, model=with_dropout)
    check(trainer)
    check(trainer, scale=1024.0)


def test_in_half_precision_the_gradient_is_the_same_but_for_its_rounding(tiny_trainer):
    trainer = tiny_trainer(WITH_RPT, rounds=True)
    trainer.begin(trainer.recipe.schedule.stages[-1])
    trainer.model.train()
    batches = trainer.images.next()
    trainer.fabric.autocast = trainer.autocast = lambda: torch.autocast("cpu", torch.bfloat16)
    step = PassStep(trainer.network, *batches, 1, 4)
    _, found = gradients(trainer, lambda: learn(trainer.terms, step, lambda loss: loss.backward(), trainer.autocast))
    assert step.source.output.logits.dtype == torch.bfloat16

    def summed():
        with trainer.autocast():
            whole = Step(trainer.network, *batches, 1, 4)
            losses = {name: loss for term in trainer.terms for name, loss in term.losses(whole).items()}
        torch.stack(list(losses.values())).sum().backward()

    _, expected = gradients(trainer, summed)
    for name, slope in expected.items():
        torch.testing.assert_close(found[name], slope, rtol=0.02, atol=0.02 * slope.abs().max().item(), msg=name)


class Both(Term):
    """The domains' mean predictions should agree. It says nothing of what it looks at."""

    def losses(self, step):
        apart = step.source.probabilities().mean((0, 2, 3)) - step.target.probabilities().mean((0, 2, 3))
        return {"apart": apart.square().sum()}


def test_a_term_that_looks_at_both_domains_is_right_among_those_that_look_at_one(tiny_trainer):
    trainer = doubled(tiny_trainer, METHODS["advent"].build())
    trainer.terms.append(Both())
    assert in_order(trainer.terms) == [0, 2, 1]
    check(trainer)


def test_each_pass_is_computed_once_and_goes_backward_once_before_the_next_begins(tiny_trainer):
    method = METHODS["daformer"].build()
    trainer = doubled(tiny_trainer, method)
    told, number = [], iter(range(9))

    def see(_, __, output):
        if output.logits.requires_grad:
            mine = next(number)
            told.append(("forward", mine))
            output.logits.register_hook(lambda _: told.append(("backward", mine)))

    trainer.model.register_forward_hook(see)
    one_by_one(trainer, batches_of(trainer))
    assert told == [("forward", 0), ("backward", 0), ("forward", 1), ("backward", 1)]


@pytest.mark.parametrize(("name", "share"), [("advent", 0.85), ("dacs", 0.6), ("source_only", 1.0)])
def test_less_is_kept_at_a_time_than_for_the_sum(tiny_trainer, name, share):
    trainer = doubled(tiny_trainer, METHODS[name].build())
    batches, most = batches_of(trainer), []
    for make in (of_the_sum, one_by_one):
        kept = Kept(trainer.model)
        with kept.hooks():
            make(trainer, batches)
        assert kept.now == 0 and kept.most > 0
        most.append(kept.most)
    assert most[1] <= share * most[0]


def test_a_term_that_looks_where_it_does_not_say_so_is_told(tiny_trainer):
    class Own(Both):
        looks_at = ("target",)

    trainer = tiny_trainer(Adversarial())
    trainer.terms.append(Own())
    with pytest.raises(UserError, match=r"Own looks at the network's pass over the source, .*\('target',\).*add it"):
        trainer.step()


@pytest.mark.parametrize("wrong", ["source", ("source", "aim"), ["mixed"]])
def test_domains_that_do_not_exist_are_told(wrong):
    class Own(Term):
        looks_at = wrong

    with pytest.raises(UserError, match="`looks_at` of Own must be a tuple of 'source' and 'target'"):
        in_order([Own()])


def test_what_was_computed_is_still_there_for_the_players_without_gradient(tiny_trainer):
    trainer = doubled(tiny_trainer, METHODS["advent"].build())
    step = PassStep(trainer.network, *batches_of(trainer))
    learn(trainer.terms, step, lambda loss: loss.backward(), contextlib.nullcontext)
    assert step.open == [] and step.source.computed and step.target.computed
    for view in (step.source, step.target):
        assert not view.features.requires_grad and not view.log_probabilities().requires_grad


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_step_leaves_nothing_for_the_collector_of_cycles(tiny_trainer, name):
    """Which comes by when it will: until then a GPU would hold the maps and images of several steps."""
    method = METHODS[name].build()
    trainer = tiny_trainer(method, rounds=True, forbid=not method.reads.target_labels)
    stage = trainer.recipe.schedule.stages[-1]
    trainer.done = trainer.recipe.schedule.steps - stage.steps
    trainer.begin(stage)
    trainer.step()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        trainer.step()
        gc.collect()
        left = [type(found).__name__ for found in gc.garbage if isinstance(found, torch.Tensor | View)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == []


def test_a_view_outlives_its_step_with_what_was_computed_and_says_that_no_more_can_be(tiny_trainer):
    trainer = tiny_trainer(METHODS["source_only"].build())
    step = PassStep(trainer.network, *trainer.images.next())
    source, other = step.source, step.view(step.batches[0])
    shown = source.output.logits
    del step
    assert source.output.logits is shown
    with pytest.raises(UserError, match="step that is over"):
        _ = other.features
