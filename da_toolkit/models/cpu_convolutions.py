"""Convolutions that are quick to train on a CPU too: as matrix products, of all places of the kernel or of each."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_NARROW = 32
"""Input channels below which the library's own gradient is as quick."""
_Pair = tuple[int, int]
_Part = tuple[slice, slice, slice]


def quicken(module: nn.Module) -> None:
    """Compute what oneDNN is slow at another way where `module` is trained on a CPU (benchmarks/cpu_convolutions.py).

    Of a kernel of several places and stride 1 each place is a 1x1 convolution of the shifted input. In channels-last
    memory these are quicker:

    - with few outputs, as an atrous classifier has: one matrix product gives what all places add, forward and backward,
      in single and in mixed precision;
    - with more: gradients of the weights, a product a place, in single precision; with AVX-512 where the kernel is
      wider than the map alone;
    - dilated and depthwise: gradients of input and weights, a sum of products a place, in single precision.

    Outputs and gradients are the same but for rounding. Nothing changes on other devices, in other memory, without
    gradient, compiled and exported; weights keep their names. `torch.func` has none of these layers.
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
        trained = torch.is_grad_enabled() and self.weight.requires_grad and not torch.compiler.is_compiling()
        fitting = input.device.type == "cpu" and input.dim() == 4 and self._gives_any(input)
        if not (trained and fitting and input.is_contiguous(memory_format=torch.channels_last)):
            return super().forward(input)
        if _few_outputs(self):
            return _sum_of_places(input, self.weight, self.bias, *self._how())
        mixed = torch.is_autocast_enabled("cpu") or input.dtype != self.weight.dtype
        vectors = torch.backends.cpu.get_cpu_capability()
        if mixed or (self.groups == 1 and vectors == "AVX512" and not self._wider_than(input)):
            return super().forward(input)
        return cast(Tensor, _Convolution.apply(input, self.weight, self.bias, *self._how(), self.groups))

    def _how(self) -> tuple[_Pair, _Pair]:
        return cast(_Pair, self.padding), cast(_Pair, self.dilation)

    def _wider_than(self, input: Tensor) -> bool:
        return min(_given_sides(input.shape[2:], self.kernel_size, (0, 0), self._how()[1])) < 1

    def _gives_any(self, input: Tensor) -> bool:
        return min(_given_sides(input.shape[2:], self.kernel_size, *self._how())) > 0


def _given_sides(seen: Sequence[int], kernel: Sequence[int], padding: _Pair, dilation: _Pair) -> list[int]:
    """Height and width of the output; below 1 where the kernel is wider than the padded input."""
    return [seen[axis] + 2 * padding[axis] - (kernel[axis] - 1) * dilation[axis] for axis in (0, 1)]


def _few_outputs(layer: nn.Conv2d) -> bool:
    return layer.groups == 1 and layer.weight[0, 0].numel() * layer.out_channels <= layer.in_channels


def _sum_of_places(input: Tensor, weight: Tensor, bias: Tensor | None, padding: _Pair, dilation: _Pair) -> Tensor:
    """`F.conv2d` of stride 1, autocast or not: one product gives what each place of the kernel adds to each output,
    from where it is added up."""
    places = weight.permute(2, 3, 0, 1)
    added = input.permute(0, 2, 3, 1) @ places.flatten(0, 2).t()
    output = _Sum.apply(added.unflatten(3, places.shape[:3]), padding, dilation)
    output = output if bias is None else output + bias
    return cast(Tensor, output.to(added.dtype)).permute(0, 3, 1, 2)


class _Sum(torch.autograd.Function):
    """What places of a kernel add, [N,H,W,kernel,O] in any precision, summed to [N,H',W',O] in single or double."""

    @staticmethod
    def forward(ctx: Any, added: Tensor, padding: _Pair, dilation: _Pair) -> Tensor:
        seen, kernel = added.shape[1:3], added.shape[3:5]
        ctx.how = added.shape, added.dtype, padding, dilation
        given = _given_sides(seen, kernel, padding, dilation)
        exact = torch.promote_types(added.dtype, torch.float32)
        found = added.new_zeros(added.shape[0], *given, added.shape[5], dtype=exact)
        for (row, column), there, here in _taps(seen, given, kernel, padding, dilation):
            found[here] += added[..., row, column, :][there]
        return found

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        shape, dtype, padding, dilation = ctx.how
        slopes = slope.new_zeros(shape, dtype=dtype)
        for (row, column), there, here in _taps(shape[1:3], slope.shape[1:3], shape[3:5], padding, dilation):
            slopes[..., row, column, :][there] = slope[here].to(dtype)
        return slopes, None, None


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
        for place, there, here in _taps(input.shape[2:], slope.shape[2:], weight.shape[2:], padding, dilation):
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
    for place, there, here in _taps(input.shape[2:], slope.shape[2:], weight.shape[2:], padding, dilation):
        if of_input:
            to_input[there].addcmul_(given[here], kernel[place])
        if of_weight:
            torch.sum(given[here] * seen[there], (0, 1, 2), out=places[place])
    return (
        to_input.permute(0, 3, 1, 2) if of_input else None,
        places.permute(2, 0, 1)[:, None] if of_weight else None,
    )


def _taps(
    seen: Sequence[int], given: Sequence[int], kernel: Sequence[int], padding: _Pair, dilation: _Pair
) -> Iterator[tuple[_Pair, _Part, _Part]]:
    """Each place of the kernel that sees any input, and which parts of input and output [N,H,W,...] it joins.

    Args:
        seen, given: heights and widths of input and output.
    """
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            there, here = [slice(None)], [slice(None)]
            for axis, place in enumerate((row, column)):
                shift = place * dilation[axis] - padding[axis]  # of the input against the output
                begin = max(0, -shift)
                end = max(begin, min(given[axis], seen[axis] - shift))
                here.append(slice(begin, end))
                there.append(slice(begin + shift, end + shift))
            if all(part.start < part.stop for part in here[1:]):
                yield (row, column), cast(_Part, tuple(there)), cast(_Part, tuple(here))
