"""A network that keeps less for the backward pass at little cost: what cheap layers give is made again there."""

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from da_toolkit.errors import UserError
from da_toolkit.models.recompute import statistics_left_alone

_NORMS = nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm
_ACTIVATIONS = nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Hardtanh
_MORE_ACTIVATIONS = "timm.layers.activations", "transformers.activations"
_WIDER = 4
"""A 1x1 convolution is cheap for what it gives if it has so many times as many outputs as inputs."""


def remake_cheap_layers(network: nn.Module) -> None:
    """Let what norms, activations and widening 1x1 convolutions give be made again of what went into them, when
    gradients ask for it: of a ResNet-101 half as much is kept (benchmarks/advent_peer.py). Gradients, statistics of
    batch norms and random numbers are the same, bit for bit.

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
    if isinstance(layer, nn.Conv2d):
        return max(layer.kernel_size) == 1 and layer.groups == 1 and layer.out_channels >= _WIDER * layer.in_channels
    return isinstance(layer, _NORMS + _ACTIVATIONS) or type(layer).__module__ in _MORE_ACTIVATIONS


class _Kept:
    """What autograd keeps of one tensor: itself, or the layer that makes it and what goes into that."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor: Tensor | None = tensor
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
            raise RuntimeError("A tensor that a gradient needs was changed in place after the layer had used it.")
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
    return tensor.data_ptr(), tensor._version, tensor.numel(), tensor.dtype


class _View:
    """A tensor of the numbers that are kept."""

    def __init__(self, of: _Kept, seen: Tensor) -> None:
        self.of, self.shape, self.stride = of, seen.shape, seen.stride()

    def get(self) -> Tensor:
        return self.of.get().as_strided(self.shape, self.stride)


class _Pass(torch.autograd.graph.saved_tensors_hooks):
    """A forward pass in which cheap layers say what they make of what."""

    current: "_Pass | None" = None

    def __init__(self) -> None:
        super().__init__(self._keep, lambda kept: kept.get() if isinstance(kept, _View) else kept)
        self.known: dict[tuple[Any, ...], _Kept] = {}

    def __enter__(self) -> None:
        super().__enter__()
        _Pass.current = self

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        _Pass.current = None
        self.known.clear()

    def _keep(self, tensor: Tensor) -> Tensor | _View:
        if isinstance(tensor, nn.Parameter):
            return tensor
        kept = self._find(tensor)
        if kept is None:
            kept = self.known[_place(tensor)] = _Kept(tensor)
        kept.use()
        return _View(kept, tensor)

    def _find(self, tensor: Tensor) -> _Kept | None:
        kept = self.known.get(_place(tensor))
        return None if kept is None or kept.storage.expired() else kept

    def through(self, layer: nn.Module, forward: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
        """What the layer gives, to be made again of what went in, where that is kept anyway or is made itself."""
        source = self._find(given)
        found = forward(given)
        source = source or self._find(given)  # which the layer itself may have kept
        kept = self._find(found) or _Kept(found)
        if source is not None and source is not kept:
            self.known[kept.place] = kept
            overwrites = found.data_ptr() == given.data_ptr()
            kept.made(_again(layer, forward, given), _View(source, given), overwrites)
        return found


def _again(layer: nn.Module, forward: Callable[[Tensor], Tensor], given: Tensor) -> Callable[[Tensor], Tensor]:
    """The layer's forward pass, in the precision of this moment."""
    device = given.device.type
    mixed, precision = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    def make(given: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(device, precision, enabled=mixed), statistics_left_alone(layer):
            return forward(given)

    return make


@functools.cache
def _made_again(kind: Any) -> Any:
    """The same kind of layer, whose output is made again in a network that spares memory."""

    class MadeAgain(kind):
        def forward(self, given: Tensor) -> Tensor:
            now = _Pass.current
            forward = super().forward
            return cast(Tensor, forward(given) if now is None else now.through(self, forward, given))

    return MadeAgain


@functools.cache
def _sparing(kind: Any) -> Any:
    """The same kind of network, which spares memory where it is trained."""

    class Sparing(kind):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            if not (self.training and torch.is_grad_enabled()):
                return super().forward(*args, **kwargs)
            with _Pass():
                return super().forward(*args, **kwargs)

    return Sparing
