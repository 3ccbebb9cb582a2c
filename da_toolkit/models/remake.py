"""A network that keeps less for the backward pass at little cost: what cheap layers give is made again there."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.utils.parametrize import is_parametrized

from da_toolkit.errors import UserError
from da_toolkit.models.recompute import statistics_left_alone

_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm
_ACTIVATIONS = nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Hardtanh
_FILES_OF_ACTIVATIONS = "timm.layers.activations", "transformers.activations"
_WIDER = 4
"""A 1x1 convolution is cheap for what it gives if it has so many times as many outputs as inputs."""


def remake_cheap_layers(network: nn.Module) -> None:
    """Let what norms, activations and widening 1x1 convolutions give be made again of what went into them, when
    gradients ask for it: in single precision a ResNet-101 keeps half as much (benchmarks/advent_peer.py). Gradients,
    statistics of batch norms and random numbers are the same, bit for bit, as long as nothing that the layers read
    changes between the passes: weights may not, as ever, nor the statistics of a batch norm that uses its own.

    Names of weights stay too, and a copy of the network does the same.

    Raises:
        UserError: the network has no such layer.
    """
    layers = [layer for layer in network.modules() if _cheap(layer)]
    if not layers:
        raise UserError(
            f"--recompute cheap: the network, a {type(network).__name__}, has no norm, activation or widening 1x1 "
            "convolution that could be computed again. Pass --recompute blocks, or leave it out."
        )
    for layer in layers:
        layer.__class__ = _made_again(cast(Any, type(layer)))  # a wrapper would rename the weights
    network.__class__ = _sparing(cast(Any, type(network)))


def _cheap(layer: nn.Module) -> bool:
    if is_parametrized(layer) or layer._forward_pre_hooks:  # which may compute other weights each time
        return False
    if isinstance(layer, nn.Conv2d):
        return max(layer.kernel_size) == 1 and layer.groups == 1 and layer.out_channels >= _WIDER * layer.in_channels
    inside = [part for part in layer.modules() if part is not layer and not isinstance(part, nn.Identity)]
    return (isinstance(layer, _NORMS) and all(map(_activates, inside))) or _activates(layer)


def _activates(layer: nn.Module) -> bool:
    return isinstance(layer, _ACTIVATIONS) or type(layer).__module__ in _FILES_OF_ACTIVATIONS


class _Kept:
    """What autograd keeps of the numbers of a tensor: themselves, or what makes them of others."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor: Tensor | None = tensor.detach()  # its gradient's graph holds this one
        self.place = _place(tensor)
        self.storage = StorageWeakRef(tensor.untyped_storage())
        self.make: Callable[[Tensor], Tensor] | None = None
        self.source: _View | None = None
        self.overwrites = False
        self.uses = 0
        """How often it will be asked for: by operations that keep it, and by what is made of it."""

    def use(self) -> None:
        self.uses += 1
        if self.uses == 1 and self.source is not None:
            self.source.of.use()

    def made(self, make: Callable[[Tensor], Tensor], source: "_View", overwrites: bool) -> None:
        """Give up the tensor, for `make(source)` is the same."""
        self.tensor, self.make, self.source, self.overwrites = None, make, source, overwrites
        if self.uses:
            source.of.use()

    def get(self) -> Tensor:
        """The tensor; held from when it is made until it has been asked for as often as it will be."""
        tensor = self.tensor
        if self.make is None and tensor is not None and tensor._version != self.place[1]:
            raise RuntimeError("A tensor that a gradient needs was changed in place after a layer had used it.")
        if tensor is None:
            assert self.make is not None and self.source is not None
            given = self.source.get()
            if self.overwrites and self.source.of.tensor is not None:  # somebody else will ask for it
                given = given.clone()
            tensor = self.make(given)
        self.uses -= 1
        if self.make is not None:
            self.tensor = tensor if self.uses > 0 else None
        return tensor


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """What views of the same numbers share."""
    return tensor.data_ptr(), tensor._version, tensor.numel(), tensor.dtype, tensor.is_conj(), tensor.is_neg()


class _View:
    """A tensor of the numbers that are kept."""

    def __init__(self, of: _Kept, seen: Tensor) -> None:
        self.of, self.shape, self.stride = of, seen.shape, seen.stride()

    def get(self) -> Tensor:
        whole = self.of.get()
        alike = whole.shape == self.shape and whole.stride() == self.stride
        return whole if alike else whole.as_strided(self.shape, self.stride)


class _Pass(torch.autograd.graph.saved_tensors_hooks):
    """A forward pass in which cheap layers say what they make of what."""

    current: "_Pass | None" = None

    def __init__(self) -> None:
        super().__init__(self._keep, _View.get)
        self.known: dict[tuple[Any, ...], _Kept] = {}

    def _keep(self, tensor: Tensor) -> _View:
        kept = self.find(tensor)
        if kept is None:
            kept = self.known[_place(tensor)] = _Kept(tensor)
        kept.use()
        return _View(kept, tensor)

    def find(self, tensor: Tensor) -> _Kept | None:
        kept = self.known.get(_place(tensor))
        return None if kept is None or kept.storage.expired() else kept

    def through(self, layer: nn.Module, forward: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
        """What the layer gives, to be made again of what went in, where that is kept anyway or is made itself."""
        source = self.find(given)
        found = forward(given)
        source = source or self.find(given)  # which the layer itself may have kept
        if source is None:
            return found
        kept = self.find(found) or _Kept(found)
        if kept is not source:
            self.known[kept.place] = kept
            overwrites = found.data_ptr() == given.data_ptr()
            kept.made(_again(layer, forward, given.device.type), _View(source, given), overwrites)
        return found


@contextmanager
def _sparing_pass() -> Iterator[None]:
    before, _Pass.current = _Pass.current, _Pass()
    try:
        with _Pass.current:
            yield
    finally:
        _Pass.current.known.clear()  # it holds itself by its hook until the collector comes
        _Pass.current = before


def _again(layer: nn.Module, forward: Callable[[Tensor], Tensor], device: str) -> Callable[[Tensor], Tensor]:
    """The layer's forward pass, in the mode and the precision of this moment."""
    training = layer.training
    mixed, precision = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    def make(given: Tensor) -> Tensor:
        now, layer.training = layer.training, training
        try:
            with torch.no_grad(), torch.autocast(device, precision, enabled=mixed), statistics_left_alone(layer):
                return forward(given)
        finally:
            layer.training = now

    return make


@functools.cache
def _made_again(kind: Any) -> Any:
    """The same kind of layer, whose output is made again in a network that spares memory."""

    class MadeAgain(kind):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            now, forward = _Pass.current, super().forward
            plain = len(args) == 1 and isinstance(args[0], Tensor) and not kwargs
            return forward(*args, **kwargs) if now is None or not plain else now.through(self, forward, args[0])

    return _named_as(kind, MadeAgain)


@functools.cache
def _sparing(kind: Any) -> Any:
    """The same kind of network, which spares memory where it is trained."""

    class Sparing(kind):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            if not (self.training and torch.is_grad_enabled()):
                return super().forward(*args, **kwargs)
            with _sparing_pass():
                return super().forward(*args, **kwargs)

    return _named_as(kind, Sparing)


def _named_as(kind: Any, derived: Any) -> Any:
    """By names others tell norms from the rest."""
    derived.__name__, derived.__qualname__, derived.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return derived
