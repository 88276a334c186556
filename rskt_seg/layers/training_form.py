"""Training forms: modules that share the parameters of others, and train them with less time or memory."""

from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch import nn
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


def is_frozen(module: nn.Module) -> bool:
    """Return whether no parameter of a module is trained."""
    return not any(parameter.requires_grad for parameter in module.parameters())
