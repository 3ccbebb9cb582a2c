"""What cheap layers give is made again: the very tensors, whatever else looks at them."""

import copy

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
    """One layer's output, used by two, of which one writes over a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.relu, self.conv = nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1)

    def forward(self, images):
        found = self.norm(images)
        return self.conv(found) + self.conv(self.relu(found.clone())) + found.sigmoid()


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


def test_what_a_gradient_needs_may_not_be_changed_as_ever():
    class Careless(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, images):
            found = self.conv(images)
            normed = self.norm(found)
            found.add_(1)
            return normed

    for make in (lambda network: None, remake_cheap_layers):
        network = Careless().train()
        make(network)
        with pytest.raises(RuntimeError, match=r"in.?place"):
            network(torch.rand(1, 3, 4, 4)).square().sum().backward()


def test_nothing_is_held_after_a_backward_pass(pair):
    output = pair[1](torch.rand(1, 3, 12, 16))
    output.sum().backward()
    assert remake._Pass.current is None
    output = pair[1].eval()(torch.rand(1, 3, 12, 16))
    assert output.grad_fn is not None and remake._Pass.current is None


def test_a_pass_that_fails_leaves_none_open(pair):
    with pytest.raises(RuntimeError):
        pair[1](torch.rand(1, 5, 12, 16))
    assert remake._Pass.current is None
