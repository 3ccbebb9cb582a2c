"""Convolutions that are quick on a CPU: the library's own, but for rounding, and the same networks otherwise."""

import copy
import io

import pytest
import torch
from lightning.fabric import Fabric
from torch import nn
from torch.nn import functional as F

from da_toolkit.methods import METHODS
from da_toolkit.models import DeepLabV2, LightDeepLabV3Plus, cpu_convolutions
from da_toolkit.models.cpu_convolutions import _Quick, quicken
from da_toolkit.models.recompute import recompute_blocks
from da_toolkit.training.trainer import Trainer

DENSE = [
    *({"kernel_size": 3, "padding": 1}, {"kernel_size": 3, "padding": 4, "dilation": 4}),
    *({"kernel_size": (1, 3)}, {"kernel_size": (5, 2), "padding": (3, 0), "dilation": (1, 2)}),
    {"kernel_size": 3, "padding": 24, "dilation": 24},
]


@pytest.fixture(autouse=True)
def capability(monkeypatch):
    """A CPU whose library is slow at all of them, wherever this runs."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def slopes(layer, images, channels_last):
    """Output, and gradients of the input, the weights and the bias."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = images.clone(memory_format=layout).requires_grad_()
    output = layer(images)
    weighed = output * torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return output, torch.autograd.grad(weighed.sum(), [images, *layer.parameters()])


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [2, 7, "depthwise"])  # few enough for one product, more
@pytest.mark.parametrize("how", DENSE, ids=str)
def test_outputs_and_gradients_are_the_librarys(how, outputs, bias, channels_last):
    torch.manual_seed(0)
    depthwise = outputs == "depthwise"
    if depthwise and how.get("dilation", 1) == 1:
        how = how | {"dilation": (2, 1), "padding": 3}
    groups = {"groups": 32} if depthwise else {}
    plain = nn.Conv2d(32, 32 if depthwise else outputs, **how, **groups, bias=bias).double()
    quick = copy.deepcopy(plain)
    quicken(quick)
    assert type(quick) is _Quick and type(plain) is nn.Conv2d
    images = torch.rand(2, 32, 9, 13, dtype=torch.float64)
    (output, expected), (again, found) = slopes(plain, images, channels_last), slopes(quick, images, channels_last)
    assert output.stride() == again.stride()
    for one, other in zip([output, *expected], [again, *found], strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("outputs", "ways"), [(3, 1), (4, 0)])
def test_few_outputs_are_one_product(outputs, ways, monkeypatch):
    """As few as have no more places than the layer has inputs."""
    calls = []
    summed = cpu_convolutions._sum_of_places
    monkeypatch.setattr(cpu_convolutions, "_sum_of_places", lambda *given: calls.append(1) or summed(*given))
    layer = nn.Conv2d(32, outputs, 3)
    quicken(layer)
    layer(torch.rand(2, 32, 6, 6).to(memory_format=torch.channels_last))
    assert len(calls) == ways


@pytest.mark.parametrize("outputs", [2, 7])
def test_a_map_that_is_too_small_is_refused_as_ever(outputs):
    layer = nn.Conv2d(32, outputs, 3)
    quicken(layer)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        layer(torch.rand(1, 32, 2, 5).to(memory_format=torch.channels_last))


def test_only_what_is_asked_for_is_given():
    layer = nn.Conv2d(32, 8, 3, padding=1)
    quicken(layer)
    images = torch.rand(1, 32, 6, 6)
    layer(images).sum().backward()  # of the weights alone
    assert layer.weight.grad is not None and images.grad is None
    layer.requires_grad_(False)
    images.requires_grad_()
    layer(images).sum().backward()
    expected = torch.autograd.grad(F.conv2d(images, layer.weight, layer.bias, padding=1).sum(), images)[0]
    assert torch.equal(images.grad, expected)


@pytest.mark.parametrize(
    "layer",
    [
        *(nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 3, stride=2), nn.Conv2d(16, 64, 3), nn.Conv2d(64, 64, 3, groups=4)),
        *(nn.Conv2d(64, 64, 3, groups=64), nn.Conv2d(64, 64, 3, padding="same"), nn.ConvTranspose2d(64, 64, 3)),
        nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"),
    ],
    ids=str,
)
def test_what_the_library_is_quick_at_stays_as_it_is(layer):
    kind = type(layer)
    quicken(layer)
    assert type(layer) is kind


@pytest.mark.parametrize(
    ("layer", "quick"),
    [
        (nn.Conv2d(32, 32, 3, padding=2, dilation=2), False),
        (nn.Conv2d(32, 32, 3, padding=4, dilation=4), True),  # 9 places on 8 rows
        (nn.Conv2d(32, 32, 3, padding=2, dilation=2, groups=32), True),
    ],
    ids=["dense", "wider than the map", "depthwise"],
)
def test_with_avx512_the_library_is_slow_at_fewer(layer, quick, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    quicken(layer)
    output = layer(torch.rand(2, 32, 8, 12).to(memory_format=torch.channels_last))
    assert output.grad_fn.name() == ("_ConvolutionBackward" if quick else "ConvolutionBackward0")


@pytest.mark.parametrize("outputs", [5, 19])
def test_in_single_precision_rounding_alone_differs(outputs):
    plain = nn.Conv2d(64, outputs, 3, padding=6, dilation=6).to(memory_format=torch.channels_last)
    quick = copy.deepcopy(plain)
    quicken(quick)
    images = torch.rand(2, 64, 24, 40)
    (output, expected), (again, found) = slopes(plain, images, True), slopes(quick, images, True)
    for one, other in zip([output, *expected], [again, *found], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4 * one.detach().abs().max().item())


def test_in_mixed_precision_few_outputs_are_as_near_to_single_precision_as_the_librarys():
    torch.manual_seed(0)
    plain = nn.Conv2d(256, 19, 3, padding=6, dilation=6).to(memory_format=torch.channels_last)
    quick = copy.deepcopy(plain)
    quicken(quick)
    images = torch.randn(2, 256, 24, 40)
    exact, *mixed = [slopes(plain, images, True)] + [autocast_slopes(layer, images) for layer in (plain, quick)]
    for one, library, own in zip(*([output, *gradients] for output, gradients in (exact, *mixed)), strict=True):
        assert own.dtype == library.dtype
        assert (own - one).norm() < 2 * (library - one).norm() < 0.02 * one.norm()


def autocast_slopes(layer, images):
    with torch.autocast("cpu", torch.bfloat16):
        return slopes(layer, images, True)


@pytest.mark.parametrize("outputs", [2, 4])
def test_gradients_of_gradients_are_the_librarys(outputs):
    layer = nn.Conv2d(32, outputs, 3, padding=2, dilation=2).double()
    quicken(layer)
    images = torch.rand(1, 32, 5, 6, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradgradcheck(layer, images)


def test_elsewhere_the_library_decides():
    """Under autocast, compiled, exported, in other memory, and where nothing is trained."""
    layer = nn.Conv2d(32, 8, 3)
    quicken(layer)
    images = torch.rand(2, 32, 6, 6).to(memory_format=torch.channels_last)
    assert layer(images).grad_fn.name() == "_ConvolutionBackward"
    assert layer(images.contiguous()).grad_fn.name() == "ConvolutionBackward0"
    assert layer(images[0]).shape == (8, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(images)
    assert output.dtype == torch.bfloat16 and "_Convolution" not in output.grad_fn.name()
    output.float().sum().backward()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)(images)
    torch.testing.assert_close(compiled, layer(images))
    operators = [str(node.target) for node in torch.export.export(layer, (images,)).graph.nodes]
    assert any("conv2d" in name for name in operators) and not any("_Convolution" in name for name in operators)
    with torch.no_grad():
        assert layer(images).grad_fn is None


NETWORKS = {
    "resnet": DeepLabV2("test_resnet", 8, "none", aux=True, dilations=(1, 2)),
    "efficientnet": LightDeepLabV3Plus("test_efficientnet", weights="none", width=32, output_stride=16),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_same_gradients_also_copied_saved_and_recomputed(name):
    torch.manual_seed(0)
    plain = NETWORKS[name].build(5).double()
    quick = copy.deepcopy(plain)
    quicken(quick)
    assert any(isinstance(part, _Quick) for part in quick.modules())
    recomputed = copy.deepcopy(quick)
    recompute_blocks(recomputed.backbone)
    file = io.BytesIO()
    torch.save(quick.state_dict(), file)
    file.seek(0)
    plain.load_state_dict(torch.load(file))
    images = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    found = []
    for network in (plain, quick, recomputed):
        torch.manual_seed(1)
        network.train()(images).logits.square().mean().backward()
        found.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name_, slope in found[0].items():
            torch.testing.assert_close(other[name_], slope, rtol=1e-10, atol=1e-14, msg=name_)


@pytest.mark.parametrize("method", ["adaptseg", "fada"])
def test_the_trainer_quickens_its_network_and_discriminators(tiny_recipe, toy, method):
    recipe = tiny_recipe(METHODS[method].build(), steps=1)
    trainer = Trainer(recipe, Fabric(accelerator="cpu", devices=1), toy(), toy(seed=1))
    assert any(isinstance(part, _Quick) for part in trainer.model.modules())
    assert any(isinstance(part, _Quick) for part in trainer.players.modules()) == (method == "fada")
