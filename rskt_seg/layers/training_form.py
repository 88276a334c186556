"""Training forms: modules that share the parameters of others, and train them with less time or memory."""

from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rskt_seg.layers.inference_form import FormBuilder, copy_around


class HasTrainingForm(nn.Module, ABC):
    """A model that can be trained by another form of itself."""

    @abstractmethod
    def training_form(self, builder: FormBuilder, recompute: bool) -> Self:
        """Return a model that is called as this one, and computes the same gradients up to rounding.

        Args:
            builder: Builds the inference forms of encoders that are not trained.
            recompute: Whether to keep fewer intermediate results for the backward pass, and compute those of
                a block again when it comes to it.

        Returns:
            The form. Parameters that are trained are those of this model; encoders that are not trained are
            as they were when it was built.
        """


class Recomputed(nn.Module):
    """A module of which the backward pass keeps the inputs alone (gradient checkpointing)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what the module does."""
        if not torch.is_grad_enabled():
            return self.module(*args, **kwargs)
        return checkpoint(self.module, *args, use_reentrant=False, **kwargs)


def recompute_in(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> nn.Module:
    """Copy a module with all parts of some kinds wrapped as `Recomputed`; all parameters are shared."""
    if isinstance(module, kinds):
        return Recomputed(module)
    children = {name: recompute_in(child, kinds) for name, child in module.named_children()}
    return copy_around(module, children)


class TrainedLinear(nn.Module):
    """A linear layer that is trained as `torch.nn.Linear` is, see `packed_linear`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Transform the last axis, (..., in) -> (..., out)."""
        return packed_linear(x, self.weight, self.bias)


def packed_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute a linear layer by products in oneDNN's layout, into which the weight is brought at each call.

    That takes 2 % of the product where there are thousands of tokens, and no memory.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out).

    Returns:
        (..., out), with gradients.
    """
    y: Tensor = _PackedLinear.apply(x, weight, bias)
    return y


class _PackedLinear(torch.autograd.Function):
    """`packed_linear`; the weight gradient, whose factors both are activations, is a plain product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return _multiply(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = grads[0].flatten(0, -2)
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _multiply(grads[0], weight.T, None) if needs_x else None,
            rows.T @ x.flatten(0, -2) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return y


def is_frozen(module: nn.Module) -> bool:
    """Return whether no parameter of a module is trained."""
    return not any(parameter.requires_grad for parameter in module.parameters())
