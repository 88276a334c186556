"""Linear layers with gradients by products in oneDNN's layout, see `inference_form.packing_pays`.

Weights are brought into that layout at each call, as those that are trained change with every step. That
takes 2 % of a product where there are thousands of tokens, and no memory.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS = 1024
"""Tokens of a strip: 3072 hidden channels take 13 MB; products of fewer tokens are slower."""


class TrainedLinear(nn.Module):
    """A linear layer that is trained as `torch.nn.Linear` is, see `packed_linear`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Transform the last axis, (..., in) -> (..., out)."""
        return packed_linear(x, self.weight, self.bias)


def packed_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute a linear layer.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out).

    Returns:
        (..., out), with gradients.
    """
    y: Tensor = _PackedLinear.apply(x, weight, bias)
    return y


def packed_mlp(x: Tensor, first: nn.Linear, second: nn.Linear, slope: float) -> Tensor:
    """Compute linear, x * sigmoid(slope x), linear, of which no weight is trained.

    The slope is multiplied into the weights. Tokens pass through both layers a strip at a time: of what is as
    wide as the hidden layer, the input of the activation alone is ever held for all of them.

    Args:
        x: (..., in).
        first: From `in` to hidden channels.
        second: From hidden channels to `out`.
        slope: Slope inside the sigmoid.

    Returns:
        (..., out), with the gradient of `x`.
    """
    y: Tensor = _PackedMlp.apply(x, first.weight, first.bias, second.weight, second.bias, slope)
    return y


def packed_gated_mlp(x: Tensor, gate: nn.Linear, value: nn.Linear, out: nn.Linear) -> Tensor:
    """Compute out(ReLU6(gate(x)) * value(x)).

    Args:
        x: (..., in).
        gate: From `in` to hidden channels.
        value: From `in` to hidden channels.
        out: From hidden channels to `out`.

    Returns:
        (..., out), with the gradients of `x` and of all weights.
    """
    weight, bias = torch.cat([gate.weight, value.weight]), torch.cat([gate.bias, value.bias])
    y: Tensor = _PackedGatedMlp.apply(x, weight, bias, out.weight, out.bias)
    return y


class _PackedLinear(torch.autograd.Function):
    """`packed_linear`; the weight gradient, whose factors both are activations, is a plain product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return _multiply(x, _pack(weight), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = grads[0].flatten(0, -2)
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _multiply(grads[0], _pack(weight.T), None) if needs_x else None,
            rows.T @ x.flatten(0, -2) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


class _PackedMlp(torch.autograd.Function):
    """`packed_mlp`: x * sigmoid(a x) = silu(a x) / a."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, first: Tensor, bias: Tensor, second: Tensor, bias_of_second: Tensor, slope: float
    ) -> Tensor:
        rows = x.flatten(0, -2)
        hidden, y = rows.new_empty(len(rows), len(first)), rows.new_empty(len(rows), len(second))
        packed, packed_second, bias = _pack(first * slope), _pack(second / slope), bias * slope
        for part, kept, written in zip(*(each.split(_ROWS) for each in (rows, hidden, y)), strict=True):
            strip = _multiply(part, packed, bias)
            kept.copy_(strip)
            written.copy_(_multiply(F.silu(strip, inplace=True), packed_second, bias_of_second))
        ctx.save_for_backward(hidden, first, second)
        ctx.slope = slope
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, first, second = ctx.saved_tensors
        rows = grads[0].flatten(0, -2)
        gradient = rows.new_empty(len(rows), first.shape[1])
        packed, packed_second = _pack(first.T * ctx.slope), _pack(second.T / ctx.slope)
        for part, kept, written in zip(
            *(each.split(_ROWS) for each in (rows, hidden, gradient)), strict=True
        ):
            of_activation = _multiply(part, packed_second, None)
            written.copy_(_multiply(torch.ops.aten.silu_backward(of_activation, kept), packed, None))
        return gradient.view(*grads[0].shape[:-1], -1), None, None, None, None, None


class _PackedGatedMlp(torch.autograd.Function):
    """`packed_gated_mlp`; what is elementwise takes two passes over the hidden layer in each direction."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, first: Tensor, bias: Tensor, second: Tensor, bias_of_second: Tensor
    ) -> Tensor:
        hidden = _multiply(x.flatten(0, -2), _pack(first), bias)
        gate, value = hidden.chunk(2, dim=-1)
        gated = F.relu6(gate).mul_(value)
        ctx.save_for_backward(x, hidden, gated, first, second)
        return _multiply(gated, _pack(second), bias_of_second).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, gated, first, second = ctx.saved_tensors
        rows = grads[0].flatten(0, -2)
        of_gated, of_hidden = _multiply(rows, _pack(second.T), None), torch.empty_like(hidden)
        (gate, value), (of_gate, of_value) = hidden.chunk(2, dim=-1), of_hidden.chunk(2, dim=-1)
        torch.mul(of_gated, F.relu6(gate), out=of_value)
        torch.ops.aten.hardtanh_backward.grad_input(of_gated.mul_(value), gate, 0, 6, grad_input=of_gate)
        return (
            _multiply(of_hidden, _pack(first.T), None).view_as(x),
            of_hidden.T @ x.flatten(0, -2),
            of_hidden.sum(0),
            rows.T @ gated,
            rows.sum(0),
        )


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
    return packed


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return y
