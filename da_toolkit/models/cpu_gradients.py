"""Convolutions whose gradients are quick on a CPU too: of each place of the kernel by itself, as matrix products."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_NARROW = 32
"""Input channels below which the library's own gradient is as quick."""
_Pair = tuple[int, int]
_Part = tuple[slice, slice, slice]


def quicken(module: nn.Module) -> None:
    """Take the gradients that oneDNN is slow at another way, where `module` is trained in single precision on a CPU.

    oneDNN computes the gradient of a kernel of several places, in channels-last memory, at a fraction of its forward
    pass's speed, most of all an atrous classifier's and a dilated depthwise one's (benchmarks/cpu_gradients.py); with
    AVX-512 that of a dense kernel is slow only where the kernel is wider than the map. But each place of a kernel of
    stride 1 is a 1x1 convolution of the shifted input, whose gradient is one matrix product, or the sum of a product
    where it is depthwise. The forward pass stays the library's, and gradients are the same but for rounding. On other
    devices, in other memory, in mixed precision, compiled and exported nothing changes; weights keep their names.
    Gradients of gradients are the library's; `torch.func` has none of these layers.
    """
    for part in module.modules():
        if type(part) is nn.Conv2d and _slow(part):
            part.__class__ = _Quick  # a wrapper would rename the weights


def _slow(layer: nn.Conv2d) -> bool:
    if layer.stride != (1, 1) or max(layer.kernel_size) == 1:
        return False
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return False
    if layer.groups == 1:
        return layer.in_channels >= _NARROW
    return layer.groups == layer.in_channels == layer.out_channels and max(layer.dilation) > 1


class _Quick(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        trained = torch.is_grad_enabled() and self.weight.requires_grad
        fitting = input.device.type == "cpu" and input.dtype == self.weight.dtype and input.dim() == 4
        if not (trained and fitting) or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
            return super().forward(input)
        if not input.is_contiguous(memory_format=torch.channels_last):  # where the library is quick, and a tap is not
            return super().forward(input)
        if self.groups == 1 and torch.backends.cpu.get_cpu_capability() == "AVX512" and not self._wider_than(input):
            return super().forward(input)
        how = self.padding, self.dilation, self.groups
        return cast(Tensor, _Convolution.apply(input, self.weight, self.bias, *how))

    def _wider_than(self, input: Tensor) -> bool:
        reaches = ((size - 1) * step for size, step in zip(self.kernel_size, self.dilation, strict=True))
        return any(reach >= side for reach, side in zip(reaches, input.shape[2:], strict=True))


class _Convolution(torch.autograd.Function):
    """A dense or depthwise `F.conv2d` of stride 1."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: _Pair,
        dilation: _Pair,
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.how = padding, dilation, groups
        return F.conv2d(input, weight, bias, 1, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad[:3]
        padding, dilation, groups = ctx.how
        found: tuple[Tensor | None, Tensor | None]
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted, which the library has
            found = _library(slope, input, weight, padding, dilation, groups, of_input, of_weight)
        else:
            gradients = _dense if groups == 1 else _depthwise
            found = gradients(slope, input, weight, padding, dilation, of_input, of_weight)
        return *found, slope.sum((0, 2, 3)) if of_bias else None, None, None, None


def _library(
    slope: Tensor,
    input: Tensor,
    weight: Tensor,
    padding: _Pair,
    dilation: _Pair,
    groups: int,
    of_input: bool,
    of_weight: bool,
) -> tuple[Tensor | None, Tensor | None]:
    how = None, (1, 1), padding, dilation, False, (0, 0), groups, (of_input, of_weight, False)
    return cast(
        tuple[Tensor | None, Tensor | None], torch.ops.aten.convolution_backward(slope, input, weight, *how)[:2]
    )


def _dense(
    slope: Tensor, input: Tensor, weight: Tensor, padding: _Pair, dilation: _Pair, of_input: bool, of_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the input, which the library is quick at, and of the weights."""
    to_input = to_weight = None
    if of_input:
        to_input, _ = _library(slope, input, weight, padding, dilation, 1, True, False)
    if of_weight:
        seen, given = input.permute(0, 2, 3, 1), slope.permute(0, 2, 3, 1)
        places = weight.new_zeros(*weight.shape[2:], *weight.shape[:2])
        for place, there, here in _taps(seen, given, weight, padding, dilation):
            torch.mm(given[here].flatten(0, 2).t(), seen[there].flatten(0, 2), out=places[place])
        to_weight = places.permute(2, 3, 0, 1)
    return to_input, to_weight


def _depthwise(
    slope: Tensor, input: Tensor, weight: Tensor, padding: _Pair, dilation: _Pair, of_input: bool, of_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the input and of the weights."""
    seen, given = input.permute(0, 2, 3, 1), slope.permute(0, 2, 3, 1)
    kernel = weight[:, 0].permute(1, 2, 0).contiguous()
    to_input, places = torch.zeros_like(seen) if of_input else seen, torch.zeros_like(kernel)
    for place, there, here in _taps(seen, given, weight, padding, dilation):
        if of_input:
            to_input[there].addcmul_(given[here], kernel[place])
        if of_weight:
            torch.sum(given[here] * seen[there], (0, 1, 2), out=places[place])
    return (
        to_input.permute(0, 3, 1, 2) if of_input else None,
        places.permute(2, 0, 1)[:, None] if of_weight else None,
    )


def _taps(
    seen: Tensor, given: Tensor, weight: Tensor, padding: _Pair, dilation: _Pair
) -> Iterator[tuple[_Pair, _Part, _Part]]:
    """Each place of the kernel that sees any input, and which parts of input and output [N,H,W,C] it joins."""
    for row in range(weight.shape[2]):
        for column in range(weight.shape[3]):
            there, here = [slice(None)], [slice(None)]
            for axis, place in enumerate((row, column)):
                shift = place * dilation[axis] - padding[axis]  # of the input against the output
                begin = max(0, -shift)
                end = max(begin, min(given.shape[axis + 1], seen.shape[axis + 1] - shift))
                here.append(slice(begin, end))
                there.append(slice(begin + shift, end + shift))
            if all(part.start < part.stop for part in here[1:]):
                yield (row, column), cast(_Part, tuple(there)), cast(_Part, tuple(here))
