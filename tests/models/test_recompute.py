"""Blocks and cheap layers that are computed again in the backward pass: the same step, with less kept."""

import copy
import gc

import pytest
import torch
from kept import Kept
from lightning.fabric import Fabric
from torch import nn

from da_toolkit.errors import UserError
from da_toolkit.methods import METHODS
from da_toolkit.models import DAFormer, DeepLabV2, EoMT, LightDeepLabV3Plus
from da_toolkit.models.recompute import blocks_of, recompute_blocks
from da_toolkit.models.remake import _Kept, remake_cheap_layers
from da_toolkit.recipe import AdamW
from da_toolkit.runs.runtime import Runtime
from da_toolkit.training.groups import parameter_groups
from da_toolkit.training.trainer import RECOMPUTE, Trainer

NETWORKS = {
    "resnet": DeepLabV2("test_resnet", 16, "none", aux=True, dilations=(1, 2)),
    "efficientnet": LightDeepLabV3Plus("test_efficientnet", weights="none", width=8, output_stride=32),
    "segformer": DAFormer("mit_test", weights="none", width=8, dilations=(1, 2)),
    "vit": EoMT("test_vit", 16, "none"),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def alive():
    """Bytes of all tensors that Python holds."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if type(one) in (torch.Tensor, nn.Parameter)]
    return sum({one.untyped_storage()._cdata: one.untyped_storage().nbytes() for one in tensors}.values())


def trained(network, images):
    """Outputs, gradients and buffers of a training pass, the random state after it, and what is kept for gradients."""
    before = alive()
    with torch.random.fork_rng(), Kept(network).hooks():  # which Python holds then, and not autograd alone
        torch.manual_seed(1)
        output = network(images)
        kept = alive() - before
        loss = output.logits.square().mean() + output.features.square().mean()
        if output.aux_logits is not None:
            loss = loss + output.aux_logits.square().mean()
        drawn = torch.get_rng_state()
        loss.backward()
    slopes = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return output.logits.detach(), slopes, dict(network.named_buffers()), drawn, kept


@pytest.mark.parametrize("way", ["cheap", "blocks"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_statistics_and_random_numbers_are_the_same_and_less_is_kept(name, way):
    plain = NETWORKS[name].build(5).double().train()
    saving = copy.deepcopy(plain)
    RECOMPUTE[way](saving)
    assert [*saving.state_dict()] == [*plain.state_dict()]
    images = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    (logits, slopes, buffers, drawn, much), found = trained(plain, images), trained(saving, images)
    assert torch.equal(found[0], logits) and torch.equal(found[3], drawn)
    assert found[1].keys() == slopes.keys() and any(slope.abs().max() > 0 for slope in slopes.values())
    for name_, slope in slopes.items():
        torch.testing.assert_close(found[1][name_], slope, rtol=1e-12, atol=1e-14, msg=name_)
    for name_, buffer in buffers.items():
        assert torch.equal(found[2][name_], buffer), name_
    assert found[4] < 0.75 * much


@pytest.mark.parametrize("name", NETWORKS)
def test_an_optimiser_groups_the_parameters_as_before(name):
    """It tells norms by their classes, and goes on from a checkpoint of any way."""
    found = []
    for way in RECOMPUTE.values():
        network = NETWORKS[name].build(5)
        way(network)
        names = {parameter: name for name, parameter in network.named_parameters()}
        groups = parameter_groups(network, AdamW(decay_norms=False))
        found.append([{**group, "params": [names[one] for one in group["params"]]} for group in groups])
    assert found[0] == found[1] == found[2]
    assert any(group.get("weight_decay") == 0 for group in found[0])


@pytest.mark.parametrize("way", ["cheap", "blocks"])
def test_a_copy_computes_with_its_own_weights_and_evaluation_is_as_before(way):
    network = NETWORKS["resnet"].build(5).train()
    RECOMPUTE[way](network)
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    images = torch.rand(1, 3, 64, 96)
    assert other(images).features.abs().max() == 0 and network(images).features.abs().max() > 0
    plain = NETWORKS["resnet"].build(5).eval()
    plain.load_state_dict(network.state_dict())
    assert torch.equal(network.eval()(images).logits, plain(images).logits)


def test_blocks_are_the_outermost_ones():
    backbone = NETWORKS["resnet"].build(5).backbone
    assert {type(block).__name__ for block in blocks_of(backbone)} == {"BasicBlock", "Bottleneck"}
    inside = [part for block in blocks_of(backbone) for part in block.modules()]
    assert len(inside) == len(set(inside))


def test_a_backbone_without_blocks_is_told():
    with pytest.raises(UserError, match=r"--recompute blocks: the backbone, a Sequential, is no row of blocks"):
        recompute_blocks(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


def test_a_network_without_cheap_layers_is_told():
    with pytest.raises(UserError, match=r"--recompute cheap: the network, a Sequential, has no norm"):
        remake_cheap_layers(nn.Sequential(nn.Conv2d(3, 4, 3)))


def test_a_run_trains_the_same_with_it(tiny_recipe, toy):
    found = []
    for recompute in RECOMPUTE:
        recipe = tiny_recipe(METHODS["dacs"].build(), steps=2)
        fabric = Fabric(accelerator="cpu", devices=1)
        trainer = Trainer(recipe, fabric, toy(), toy(seed=1), recompute=recompute)
        gc.collect()
        gc.disable()
        try:
            trainer.fit(lambda *_: None)
            assert not [one for one in gc.get_objects() if type(one) is _Kept]  # of a step that is over
        finally:
            gc.enable()
        found.append(trainer.model.state_dict())
    for other in found[1:]:
        for name, tensor in found[0].items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-5, atol=1e-6, msg=name)


def test_it_is_not_combined_with_compile():
    with pytest.raises(UserError, match="--recompute cannot be combined with --compile"):
        Runtime(compile=True, recompute="cheap")
