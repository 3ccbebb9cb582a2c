"""Repeated updates against plain loops, which backbones they are for, and which weights decay."""

import copy
import re

import pytest
import timm
import torch
from tiny_transformers import PATCHES
from torch import nn

from da_toolkit.errors import UserError
from da_toolkit.methods import SourceOnly
from da_toolkit.models.daformer import DAFormer
from da_toolkit.models.deeplab import DeepLabV2
from da_toolkit.models.eomt import EoMT
from da_toolkit.models.vision_transformer import VisionTransformer
from da_toolkit.recipe import SGD, AdamW, LearningRate
from da_toolkit.training.groups import parameter_groups, published_repeats
from da_toolkit.training.optim import build_optimizer, set_learning_rate

PUBLISHED = SGD(lr=2.5e-2, head_multiplier=10, momentum=0.9, weight_decay=5e-3, repeats="as_published")


def held(name):
    """How often the papers' optimisers hold a parameter, as the issue tells it."""
    if not name.startswith("backbone.layer"):
        return 1
    return 4 if ".downsample." in name else 3


def sequential(weights, buffers, gradients, often, rates, momentum, decay):
    """One step, written out: each parameter's updates one after the other, with one momentum buffer."""
    for name, gradient in gradients.items():
        for _ in range(often(name)):
            slope = gradient + decay * weights[name]
            buffers[name] = slope if buffers[name] is None else momentum * buffers[name] + slope
            weights[name] = weights[name] - rates[name] * buffers[name]


def ten_steps(network, settings):
    """Train a network in float64 on seeded images with a falling rate; the gradients of every step, and the rates."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 48, 64, generator=generator, dtype=torch.float64)
    label = torch.randint(0, 5, (4, 6, 8), generator=generator)
    optimizer = build_optimizer(settings, parameter_groups(network, settings))
    rate, seen = LearningRate("poly", power=0.9, horizon=25), []
    for step in range(10):
        set_learning_rate(optimizer, rate.multiplier(step, 10))
        optimizer.zero_grad()
        output = network(images)
        logits = nn.functional.interpolate(output.logits, size=(6, 8))
        nn.functional.cross_entropy(logits, label).backward()
        seen.append({n: p.grad.clone() for n, p in network.named_parameters() if p.requires_grad})
        optimizer.step()
    return seen, [rate.multiplier(step, 10) for step in range(10)]


@pytest.mark.parametrize("batch_norm", ["affine_frozen", "train"])
def test_ten_steps_are_those_of_an_optimiser_that_holds_parameters_so_often(batch_norm):
    torch.manual_seed(1)
    network = DeepLabV2("test_resnet", 8, "none", batch_norm, dilations=(1, 2)).build(5).double()
    start = {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}
    seen, multipliers = ten_steps(network, PUBLISHED)
    weights, buffers = dict(start), dict.fromkeys(start)
    once, once_buffers = dict(start), dict.fromkeys(start)
    for gradients, multiplier in zip(seen, multipliers, strict=True):
        rates = {name: 2.5e-2 * multiplier * (1 if name.startswith("backbone.") else 10) for name in gradients}
        sequential(weights, buffers, gradients, held, rates, 0.9, 5e-3)
        sequential(once, once_buffers, gradients, lambda name: 1, rates, 0.9, 5e-3)
    for name, parameter in network.named_parameters():
        if name not in start:
            assert batch_norm == "affine_frozen" and parameter.ndim == 1
            continue
        torch.testing.assert_close(parameter.detach(), weights[name], rtol=0, atol=1e-12)
        way = (weights[name] - start[name]).norm()
        if held(name) > 1:  # or the test could not tell repeated updates from single ones
            assert (once[name] - weights[name]).norm() > 0.3 * way > 0
    assert {held(name) for name in start} == {1, 3, 4}


@pytest.mark.parametrize("times", [2, 3, 4])
def test_a_repeated_group_is_torchs_own_optimiser_stepped_so_often(times):
    generator = torch.Generator().manual_seed(times)
    start = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    mine, its, single = (start.clone().requires_grad_() for _ in range(3))
    settings = SGD(lr=0.1, momentum=0.8, weight_decay=0.02)
    groups = [{"params": [mine], "lr": 0.1, "repeats": times}, {"params": [single], "lr": 0.1}]
    optimizer = build_optimizer(settings, groups)
    other = start.clone().requires_grad_()
    reference = torch.optim.SGD([its], lr=0.1, momentum=0.8, weight_decay=0.02)
    plain = torch.optim.SGD([other], lr=0.1, momentum=0.8, weight_decay=0.02)
    for _ in range(10):
        gradient = torch.randn(7, 3, generator=generator, dtype=torch.float64)
        mine.grad = its.grad = single.grad = other.grad = gradient
        optimizer.step()
        plain.step()
        for _ in range(times):
            reference.step()
    assert torch.equal(mine, its) and torch.equal(single, other) and not torch.equal(mine, single)
    assert len(optimizer.param_groups) == 2


def test_a_resumed_optimiser_goes_on_repeating():
    def made():
        weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
        return weight, build_optimizer(SGD(lr=0.1), [{"params": [weight], "lr": 0.1, "repeats": 3}])

    def step(weight, optimizer, number):
        weight.grad = torch.full_like(weight, float(number))
        optimizer.step()

    weight, optimizer = made()
    step(weight, optimizer, 1)
    again, other = made()
    with torch.no_grad():
        again.copy_(weight)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(weight, optimizer, 2)
    step(again, other, 2)
    assert torch.equal(weight, again)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        (
            "resnet101",
            {
                "conv1.weight": 1,
                "bn1.bias": 1,
                "layer1.0.conv1.weight": 3,
                "layer1.0.downsample.0.weight": 4,
                "layer2.3.conv2.weight": 3,
                "layer3.22.bn3.weight": 3,
                "layer4.0.downsample.1.bias": 4,
            },
        ),
        ("resnet18", {"layer1.1.conv2.weight": 3, "layer2.0.downsample.0.weight": 4, "conv1.weight": 1}),
        ("resnet50d", {"conv1.3.weight": 1, "layer2.0.downsample.1.weight": 4}),
        ("seresnext50_32x4d", {"layer2.1.conv2.weight": 3, "layer2.1.se.fc1.weight": 4}),
    ],
)
def test_block_convolutions_count_3_times_downsampling_ones_4_times_and_the_stem_once(name, counts):
    with torch.device("meta"):
        backbone = DeepLabV2(name, weights="none").build_backbone()
    often = published_repeats(backbone)
    parameters = dict(backbone.named_parameters())
    assert {key: often[id(parameters[key])] for key in counts} == counts
    assert len(often) == len(parameters)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext", "test_vit"])
def test_networks_without_such_blocks_are_refused(name):
    with pytest.raises(
        UserError, match=r"optimizer\.repeats .* no stages layer1 .* or set optimizer\.repeats to"
    ) as told:
        published_repeats(timm.create_model(name))
    assert "\n" not in str(told.value)


def test_a_network_that_is_no_pyramid_is_refused_or_trained_once():
    class Own(nn.Linear):
        def parameter_groups(self, lr, head_multiplier):
            return [{"params": list(self.parameters()), "lr": lr}]

    with pytest.raises(UserError, match=r"optimizer\.repeats"):
        parameter_groups(Own(2, 2), PUBLISHED)
    assert [group["lr"] for group in parameter_groups(Own(2, 2), SGD(lr=0.5))] == [0.5]
    assert len(parameter_groups(Own(2, 2), AdamW(decay_norms=False))[0]["params"]) == 2


def test_by_default_the_groups_are_backbone_and_heads():
    network = DeepLabV2("test_resnet", 16, "none", aux=True).build(5)
    for settings in (SGD(), AdamW()):
        groups = parameter_groups(network, settings)
        assert [set(group) for group in groups] == [{"params", "lr"}] * 2


def test_a_run_repeats_updates(tiny_trainer):
    """Through the trainer: its first step, from the gradients that it leaves behind."""
    trainer = tiny_trainer(SourceOnly(), optimizer=PUBLISHED, aux=False)
    before = {name: p.detach().double() for name, p in trainer.model.named_parameters()}
    trainer.step()
    gradients = {name: p.grad.double() for name, p in trainer.model.named_parameters() if p.grad is not None}
    rates = {name: 2.5e-2 * (1 if name.startswith("backbone.") else 10) for name in gradients}
    sequential(before, dict.fromkeys(before), gradients, held, rates, 0.9, 5e-3)
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(parameter.detach().double(), before[name], rtol=1e-5, atol=1e-6)


def test_norms_of_the_backbone_do_not_decay_where_they_should_not():
    """Without gradients, AdamW's step is its decay alone."""
    network = DAFormer("test_convnext", 32, "none", width=8).build(5)
    settings = AdamW(lr=0.1, head_multiplier=2, weight_decay=0.5, decay_norms=False)
    optimizer = build_optimizer(settings, parameter_groups(network, settings))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    kept = {name for name, p in network.named_parameters() if torch.equal(p, before[name]) and before[name].any()}
    norms = {
        f"backbone.{place}.weight"  # their shifts are 0 and show nothing
        for place, module in network.backbone.named_modules()
        if isinstance(module, nn.LayerNorm)
    }
    assert kept == norms and norms
    for name, parameter in network.named_parameters():
        factor = 1.0 if name in norms else 1 - 0.05 * (1 if name.startswith("backbone.") else 2)
        torch.testing.assert_close(parameter.detach(), factor * before[name])


@pytest.mark.parametrize("name", PATCHES)
@pytest.mark.parametrize("settings", [SGD(lr=2.0, layer_decay=0.5), AdamW(lr=2.0, layer_decay=0.5, decay_norms=False)])
def test_each_layer_has_its_rate_and_each_parameter_one_group(name, settings):
    """lr * decay^(depth - layer), with depth 4."""
    kind = EoMT if "reg4" in name or "qkvb" in name else VisionTransformer
    network = kind(name, PATCHES[name], "none", aux=True).build(5)
    groups = parameter_groups(network, settings)
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rate) == len(list(network.parameters()))
    norms = {id(p) for m in network.backbone.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
    for group in groups if isinstance(settings, AdamW) else ():
        for parameter in group["params"]:
            assert group.get("weight_decay") == (0.0 if id(parameter) in norms else None)
    for key, parameter in network.named_parameters():
        block = re.search(r"\.blocks\.(\d+)\.", key)
        if not key.startswith("backbone."):
            expected = 2.0 * settings.head_multiplier
        elif block or ".norm." in key:  # the last norm is the last block's
            expected = 2.0 * 0.5 ** (4 - (int(block[1]) + 1 if block else 4))
        else:
            expected = 2.0 * 0.5**4
        assert rate[id(parameter)] == expected, key
    assert {rate[id(p)] for p in network.backbone.parameters()} == {0.125, 0.25, 0.5, 1.0, 2.0}


def test_rates_by_layer_are_what_the_optimiser_steps_by():
    network = VisionTransformer("test_vit", 16, "none", width=8).build(5)
    settings = SGD(lr=0.1, layer_decay=0.5, weight_decay=0.0, head_multiplier=1)
    optimizer = build_optimizer(settings, parameter_groups(network, settings))
    set_learning_rate(optimizer, 0.5)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, rate in (("patch_embed.proj.bias", 0.05 * 0.5**6), ("blocks.2.norm1.bias", 0.05 * 0.5**3)):
        name = f"backbone.network.model.{name}"
        torch.testing.assert_close(before[name] - network.get_parameter(name), torch.full_like(before[name], rate))


@pytest.mark.parametrize("network", [DeepLabV2("test_resnet", 16, "none"), DAFormer("test_convnext", weights="none")])
def test_networks_without_such_layers_have_no_rates_by_layer(network):
    with pytest.raises(UserError, match=r"optimizer\.layer_decay .* set optimizer\.layer_decay to 1, or take Vision"):
        parameter_groups(network.build(5), AdamW(layer_decay=0.9))
    for wrong in (0.0, -1.0, 1.5):
        with pytest.raises(UserError, match=r"optimizer\.layer_decay is above 0 and at most 1"):
            AdamW(layer_decay=wrong)


def test_a_frozen_backbone_has_no_group():
    network = VisionTransformer("test_vit", 16, "none", width=8, adapt="frozen").build(5)
    for settings in (SGD(), AdamW(layer_decay=0.9, decay_norms=False)):
        (group,) = parameter_groups(network, settings)
        assert {id(p) for p in group["params"]} == {id(p) for p in network.head.parameters()}
