"""Training forms: modules that share the parameters of others, and train them with less time or memory."""

from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rskt_seg.layers.inference_form import Activation, FormBuilder, InferenceLinear, copy_around


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


class LiveLinear(InferenceLinear):
    """`InferenceLinear` whose weight has a history, into which gradients go."""

    def forward(self, x: Tensor) -> Tensor:
        """Transform the last axis, (..., in) -> (..., out)."""
        return self.apply_to(x)


class LiveBuilder(FormBuilder):
    """Builder of forms with gradients: each is made from the parameters for one forward pass."""

    def __init__(self) -> None:
        super().__init__(torch.float32, packed=False)

    def linear(
        self,
        weight: Tensor,
        bias: Tensor | None,
        activation: Activation = "none",
        dtype: torch.dtype | None = None,
    ) -> LiveLinear:
        """See `FormBuilder.linear`; the precision is that of the weight."""
        return LiveLinear(weight, bias, activation)


def is_frozen(module: nn.Module) -> bool:
    """Return whether no parameter of a module is trained."""
    return not any(parameter.requires_grad for parameter in module.parameters())
