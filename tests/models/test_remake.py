"""What cheap layers give is made again: the very tensors, whatever else looks at them."""

import copy
import gc

import pytest
import torch
from torch import nn

from da_toolkit.models import remake
from da_toolkit.models.remake import remake_cheap_layers


class Inside(nn.Module):
    """Layers in rows, as networks have them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, images):
        return self.layers(images)


class Shortcut(nn.Module):
    """Adds to what it has made in place, as residual blocks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)

    def forward(self, images):
        found = self.norm(self.conv(images))
        found += images
        return self.last(found)


class Tokens(nn.Module):
    """A norm and a widening of tokens, seen under several shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.wide, self.last = nn.LayerNorm(4), nn.Linear(4, 8), nn.Linear(8, 4)
        self.gelu = nn.GELU()

    def forward(self, images):
        tokens = self.norm(images.flatten(2).transpose(1, 2))
        tokens = self.last(self.gelu(self.wide(tokens))) + tokens
        return tokens.transpose(1, 2).unflatten(2, images.shape[2:])


class Twice(nn.Module):
    """One layer's output, used by two, of which the second writes over it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.clamp, self.relu = nn.Hardtanh(-0.1, 0.1, inplace=True), nn.ReLU()

    def forward(self, images):
        found = self.norm(images)
        return self.conv(self.relu(found)) + self.conv(self.clamp(found))


def layers():
    return [
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), Shortcut()),
        *(nn.Conv2d(4, 16, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 1), nn.SiLU(inplace=True)),
        *(Tokens(), nn.GroupNorm(2, 4), nn.Hardswish(), Twice(), nn.Conv2d(4, 2, 3)),
    ]


@pytest.fixture
def pair():
    """A network and one of the same weights that makes again."""
    torch.manual_seed(0)
    plain = Inside(*layers()).train()
    saving = copy.deepcopy(plain)
    remake_cheap_layers(saving)
    return plain, saving


def slopes(network, images, mixed):
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        output = network(images)
    output.float().square().sum().backward()
    return [output, images.grad, *(parameter.grad for parameter in network.parameters()), *network.buffers()]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_the_same_to_the_bit(pair, mixed, layout):
    images = torch.rand(2, 3, 12, 16).to(memory_format=layout)
    for _ in range(2):
        for one, other in zip(slopes(pair[0], images, mixed), slopes(pair[1], images, mixed), strict=True):
            assert torch.equal(one, other)


def test_each_is_made_once_a_backward_pass(pair, monkeypatch):
    made = []
    again = remake._again

    def counted(layer, forward, given):
        make = again(layer, forward, given)
        return lambda given: made.append(layer) or make(given)

    monkeypatch.setattr(remake, "_again", counted)
    pair[1](torch.rand(2, 3, 12, 16)).sum().backward()
    assert len(made) == len(set(made)) >= 8


def test_a_graph_may_go_backward_twice(pair):
    images = torch.rand(1, 3, 12, 16)
    found = []
    for network in pair:
        output = network(images).square().sum()
        output.backward(retain_graph=True)
        output.backward()
        found.append([parameter.grad for parameter in network.parameters()])
    assert all(map(torch.equal, *found))


def test_gradients_of_gradients_are_the_same(pair):
    images = torch.rand(1, 3, 8, 10)
    found = []
    for network in pair:
        given = images.clone().requires_grad_()
        slope = torch.autograd.grad(network(given).square().sum(), given, create_graph=True)[0]
        slope.square().sum().backward()
        found.append([parameter.grad for parameter in network.parameters() if parameter.grad is not None])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


class Careless(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images):
        found = self.conv(images)
        normed = self.norm(found)
        found.add_(1)
        return normed


@pytest.mark.parametrize("make", [lambda network: None, remake_cheap_layers], ids=["plain", "cheap"])
def test_what_a_gradient_needs_may_not_be_changed_as_ever(make):
    network = Careless().train()
    make(network)
    with pytest.raises(RuntimeError, match=r"in.?place"):
        network(torch.rand(1, 3, 4, 4)).square().sum().backward()
    network = Inside(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).train()
    make(network)
    output = network(torch.rand(1, 3, 4, 4))
    with torch.no_grad():
        network.layers[2].weight.mul_(2)
    with pytest.raises(RuntimeError, match=r"in.?place"):
        output.square().sum().backward()


def kept():
    """Shapes of the maps that are kept now, in whatever graph."""
    gc.collect()
    tensors = [one.tensor for one in gc.get_objects() if type(one) is remake._Kept and one.tensor is not None]
    return sorted(tuple(tensor.shape) for tensor in tensors if tensor.dim() == 4 and tensor.shape[2] > 3)


def test_norms_activations_and_widening_convolutions_keep_nothing():
    narrow, wide = nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 16, 1, bias=False)
    network = Inside(narrow, nn.BatchNorm2d(4), nn.ReLU(inplace=True), wide, nn.BatchNorm2d(16), nn.GELU())
    remake_cheap_layers(network.train())
    network.layers.append(nn.Conv2d(16, 2, 1))
    images = torch.rand(1, 3, 8, 8)
    output = network(images)
    assert kept() == [(1, 3, 8, 8), (1, 4, 8, 8)]  # the images, and what the first convolution gave
    output.sum().backward()
    assert kept() == []


def test_what_is_made_again_is_given_up_after_its_last_use():
    class Seen(torch.autograd.Function):
        @staticmethod
        def forward(ctx, images):
            return images.clone()

        @staticmethod
        def backward(ctx, slope):
            seen.append(kept())
            return slope

    class See(nn.Module):
        def forward(self, images):
            return Seen.apply(images)

    seen = []
    last = nn.Conv2d(4, 5, 1)
    network = Inside(nn.Conv2d(3, 4, 1), See(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), last).train()
    remake_cheap_layers(network)
    output = network(torch.rand(1, 3, 8, 8))
    before = kept()
    output.sum().backward(retain_graph=True)
    assert seen == [before] == [[(1, 3, 8, 8), (1, 4, 8, 8)]]


@pytest.mark.parametrize("fails", [False, True])
def test_a_graph_that_never_goes_backward_is_given_up(pair, fails):
    output = pair[1](torch.rand(1, 3, 12, 16))
    assert kept()
    if fails:
        output.register_hook(lambda slope: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            output.sum().backward()
    del output
    assert kept() == [] and remake._Pass.current is None


def test_a_pass_that_fails_leaves_none_open(pair):
    with pytest.raises(RuntimeError):
        pair[1](torch.rand(1, 5, 12, 16))
    assert remake._Pass.current is None


def test_one_inside_another_goes_on_sparing():
    inner = Inside(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).train()
    remake_cheap_layers(inner)
    outer = Inside(inner, nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)).train()
    outer.__class__ = remake._sparing(type(outer))
    output = outer(torch.rand(1, 3, 8, 8))
    assert remake._Pass.current is None and len(kept()) == 5
    output.sum().backward()


def test_the_mode_of_the_forward_pass_counts(pair):
    images = torch.rand(2, 3, 12, 16)
    found = []
    for network in pair:
        output = network(images)
        network.eval()
        output.square().sum().backward()
        found.append([parameter.grad for parameter in network.parameters()])
        assert not any(part.training for part in network.modules())
    assert all(map(torch.equal, *found))


def test_layers_are_called_as_they_may_be():
    class ByName(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, images):
            return self.norm(input=self.conv(images))

    network = ByName().train()
    remake_cheap_layers(network)
    network(torch.rand(1, 3, 4, 4)).sum().backward()


def test_conjugates_are_told_apart():
    class Power(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, images):
            found = torch.fft.rfft2(self.relu(images))
            return (found * found.conj() * found).real

    plain, saving = Power().train(), Power().train()
    remake_cheap_layers(saving)
    images = torch.rand(1, 1, 6, 6)
    assert torch.equal(slopes(plain, images, False)[1], slopes(saving, images, False)[1])


@pytest.mark.parametrize(
    "layer",
    [
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 8, 1)),
        *(nn.SyncBatchNorm(4), nn.Conv2d(4, 8, 1), nn.Conv2d(4, 16, 3), nn.Dropout(), nn.Linear(4, 16)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_others_stay_as_they_are(layer):
    kind = type(layer)
    remake_cheap_layers(nn.ModuleList([layer, nn.ReLU()]))
    assert type(layer) is kind
