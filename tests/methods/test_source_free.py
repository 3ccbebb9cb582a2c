"""Source-free methods: what of the network trains, what is refused, and TENT's loss written plainly."""

import copy
import math

import pytest
import torch
from tester import step_of
from torch import nn

from da_toolkit.errors import UserError
from da_toolkit.methods import ContinualTeacher, Entropy, SourceFree, SourceOnly
from da_toolkit.models.deeplab import DeepLabV2, LightDeepLabV3Plus
from da_toolkit.models.hrda import HRDA
from da_toolkit.models.segmenter import Segmenter
from da_toolkit.recipe import AdamW
from da_toolkit.registry import METHODS
from da_toolkit.training.state import load_state, state_of

NETWORKS = {
    "DeepLab-v2": DeepLabV2("test_resnet", 16, "none", aux=True, dilations=(1, 2)),
    "DeepLab-v3+": LightDeepLabV3Plus("test_resnet", weights="none", width=8, aux=False),
}


def small(name):
    """The method, CoTTA with few passes of its teacher."""
    if name == "cotta":
        return SourceFree(regularizers=(ContinualTeacher(scales=(0.5, 1.0)),))
    return METHODS[name].build()


def moved(trainer, steps=3):
    """Names of the parameters that a few steps move."""
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    for _ in range(steps):
        trainer.step()
    return {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}


def affine(network):
    """Names of the scales and shifts of batch norms."""
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    return {name for name, _ in network.named_parameters() if name.rpartition(".")[0] in norms}


def held(trainer):
    """The tensors that the optimiser holds, by id."""
    return {id(value) for group in trainer.optimizer.param_groups for value in group["params"]}


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_tent_moves_the_scales_and_shifts_of_batch_norms_alone(model, tiny_trainer):
    trainer = tiny_trainer(METHODS["tent"].build(), model=model, optimizer=AdamW(lr=1e-2, weight_decay=0.5))
    names = affine(trainer.model)
    found = moved(trainer)
    assert found and found <= names and len(found) > 0.9 * len(names)  # ReLU may leave one without a gradient
    wanted = {id(value) for name, value in trainer.model.named_parameters() if name in names}
    assert held(trainer) == wanted


def test_the_statistics_that_tent_is_scored_with_become_the_targets(tiny_trainer):
    """They follow batches that the network normalises by itself, and hold no source."""
    trainer = tiny_trainer(METHODS["tent"].build(), steps=14, optimizer=AdamW(lr=1e-9))
    first = next(m for m in trainer.model.modules() if isinstance(m, nn.BatchNorm2d))
    first.momentum = 0.3
    trainer.fit(lambda *_: None)
    seen = []
    first.register_forward_hook(lambda module, given, out: seen.append(given[0].detach()))
    for batch in trainer.images.target_pass():
        trainer.model.eval()(batch.image)
    values = torch.cat(seen).transpose(0, 1).flatten(1)
    torch.testing.assert_close(first.running_mean, values.mean(1), rtol=0.05, atol=0.1 * values.std().item())


def test_tents_loss_is_the_mean_entropy_pixel_by_pixel(tiny_trainer):
    trainer = tiny_trainer(METHODS["tent"].build())
    step = step_of(trainer)
    p = step.target.logits().detach().double().softmax(1)
    total = 0.0
    for image in range(2):
        for row in range(0, 64):
            for column in range(96):
                total -= sum(v * math.log(v) for v in p[image, :, row, column].tolist())
    found = trainer.terms[0].losses(step)["entropy"].item()
    assert found * math.log(19) == pytest.approx(total / (2 * 64 * 96), rel=1e-5)


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_shot_leaves_the_heads_as_they_are(model, tiny_trainer):
    trainer = tiny_trainer(METHODS["source_free_shot"].build(), model=model, rounds=True)
    found = moved(trainer)
    heads = {name for name, _ in trainer.model.named_parameters() if not name.startswith("backbone.")}
    assert found and heads and not found & heads
    assert held(trainer) == {id(value) for value in trainer.model.backbone.parameters()}


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_shot_keeps_the_heads_in_evaluation_mode(model, tiny_trainer):
    """Their batch norms keep the source's statistics, and their dropout is off; the backbone's norms follow."""
    trainer = tiny_trainer(METHODS["source_free_shot"].build(), model=model, rounds=True)
    before = {name: value.clone() for name, value in trainer.model.named_buffers()}
    for _ in range(2):
        trainer.step()
    changed = {name for name, value in trainer.model.named_buffers() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("backbone.") for name in changed)
    assert trainer.model.backbone.training and not any(part.training for part in trainer.model.head.modules())


def test_shot_leaves_the_attention_of_hrda_as_it_is(tiny_trainer):
    model = HRDA(network=NETWORKS["DeepLab-v3+"], attention_width=8)
    trainer = tiny_trainer(METHODS["source_free_shot"].build(), model=model, rounds=True)
    assert held(trainer) == {id(value) for value in trainer.model.backbone.parameters()}
    assert not any(value.requires_grad for value in trainer.model.attention.parameters())


def test_cotta_trains_the_whole_network(tiny_trainer):
    trainer = tiny_trainer(METHODS["cotta"].build(), aux=False)
    assert held(trainer) == {id(value) for value in trainer.model.parameters()}


def test_no_label_and_no_source_is_read(tiny_trainer, monkeypatch):
    """A source that raises whenever it is asked for anything changes nothing."""

    class Closed:
        def __getattribute__(self, name):
            raise AssertionError(f"the source was asked for {name}")

    for name in METHODS.names(family="source-free"):
        trainer = tiny_trainer(small(name), steps=2, rounds=True, forbid=True)
        trainer.images.source = Closed()
        trainer.fit(lambda *_: None)
        trainer.prepare_evaluation()
        assert trainer.done == 2 and trainer.images.reads.source is False


@pytest.mark.parametrize("name", ["tent", "source_free_shot", "cotta"])
def test_the_losses_fall(name, tiny_trainer):
    trainer = tiny_trainer(small(name), steps=15, rounds=True, seed=1, aux=False)
    reports = []  # 5 steps of warm-up, then two reports of the round
    trainer.fit(lambda step, losses, rate: reports.append(sum(losses.values())), log_every=5)
    assert reports[2] < reports[1]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (DeepLabV2("test_resnet", 16, "none", batch_norm="frozen"), "model.batch_norm 'frozen' keeps .* to train"),
        (DeepLabV2("test_resnet", 16, "none", batch_norm="affine_frozen"), "model.batch_norm 'affine_frozen' keeps"),
        (DeepLabV2("test_convnext", 32, "none"), "the network has none, as most transformers: choose a convolutional"),
    ],
)
def test_a_network_without_trained_batch_norms_is_refused_for_tent(model, told, tiny_trainer):
    with pytest.raises(UserError, match=told) as error:
        tiny_trainer(METHODS["tent"].build(), model=model)
    assert "\n" not in str(error.value)


def test_a_network_without_a_head_is_refused_for_shot():
    with pytest.raises(UserError, match=r"method\.trains 'encoder' freezes the network's `head`, and it has none"):
        METHODS["source_free_shot"].build().choose_trained(Segmenter())


def test_settings_that_could_do_nothing_are_refused(tiny_trainer):
    for settings in ({"class_balance": 0.5}, {"average": "all"}):
        with pytest.raises(UserError, match=rf"method\.{next(iter(settings))} is a setting of the cross-entropy"):
            SourceFree(regularizers=(Entropy(),), **settings)
    with pytest.raises(
        UserError, match=r"method\.labels_at is a setting of methods that learn from the source's labels"
    ):
        SourceFree(regularizers=(Entropy(),), labels_at="head")
    with pytest.raises(UserError, match=r"method\.regularizers is empty, and a source-free method has no other"):
        tiny_trainer(SourceFree())


def test_a_network_that_is_frozen_altogether_is_refused(tiny_trainer, monkeypatch):
    monkeypatch.setattr(SourceOnly, "choose_trained", lambda self, network: network.requires_grad_(False))
    with pytest.raises(UserError, match="Nothing of the network is left to train"):
        tiny_trainer(SourceOnly())


@pytest.mark.parametrize("name", ["tent", "source_free_shot", "cotta"])
def test_a_resumed_run_is_the_same_run_though_the_start_weights_are_others(name, tiny_trainer):
    """What is remembered of the start, such as the weights that are restored, is the first run's."""

    def made(seed):
        return tiny_trainer(small(name), steps=4, seed=seed, rounds=True)

    whole, kept = made(0), {}
    whole.fit(lambda *_: None, after_step=lambda step: kept.update({step: _copied(state_of(whole))}))
    resumed = made(5)
    load_state(resumed, kept[2])
    resumed.images.seed = resumed.seed = 0
    resumed.fit(lambda *_: None)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key


def _copied(tree):
    return copy.deepcopy(tree)
