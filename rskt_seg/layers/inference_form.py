"""Inference forms: modules that compute what others do, faster, and only forwards.

A form is built once from a trained model, by `rskt_seg.optimize_for_inference`. It shares the parameters that
need no other layout, so it is stale once the model is trained further. A brick that has a faster equivalent
inherits from `HasInferenceForm`; every other module is copied around the forms of its children.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.errors import ConfigError

Activation = Literal["none", "silu", "gelu", "relu6"]
M = TypeVar("M", bound=nn.Module)
_FUSED: dict[str, tuple[str, list[float], str]] = {  # oneDNN's names, bounds and algorithms
    "none": ("none", [], ""),
    "silu": ("swish", [], ""),
    "gelu": ("gelu", [], "none"),
    "relu6": ("hardtanh", [0.0, 6.0], ""),
}


class InferenceLinear(nn.Module):
    """A linear layer with the activation behind it, computed and returned in the precision of its weight."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Activation) -> None:
        """Hold the weight (out, in) and the bias (out), both without gradients."""
        super().__init__()
        self.dtype, self.activation = weight.dtype, activation
        self.keep(weight, bias)

    def keep(self, weight: Tensor, bias: Tensor | None) -> None:
        """Store the weights."""
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform the last axis, (..., in) of any precision -> (..., out) in that of the weight.

        Raises:
            ConfigError: `x` requires gradients, which stop here.
        """
        if x.requires_grad and torch.is_grad_enabled():
            raise ConfigError("an inference form has no gradients: train the model it was made from")
        return self.apply_to(x.to(self.dtype))

    def apply_to(self, x: Tensor) -> Tensor:
        """Compute the layer, (..., in) -> (..., out)."""
        y = F.linear(x, self.weight, self.bias)
        if self.activation == "silu":
            return F.silu(y, inplace=True)
        if self.activation == "relu6":
            return F.relu6(y, inplace=True)
        return F.gelu(y) if self.activation == "gelu" else y

    def times(self, x: Tensor, factor: Tensor) -> Tensor:
        """Multiply the layer without its activation by a factor, (..., in) and (..., out) -> (..., out)."""
        return F.linear(x.to(self.dtype), self.weight, self.bias).mul_(factor)

    def _save_to_state_dict(self, destination: object, prefix: str, keep_vars: bool) -> None:
        raise ConfigError("an inference form cannot be saved: save the model it was made from")


class PackedLinear(InferenceLinear):
    """`InferenceLinear` with the weight in oneDNN's layout, and the activation fused."""

    def keep(self, weight: Tensor, bias: Tensor | None) -> None:
        """Store the weights; the packed one has no address, which `Module.to` could not move."""
        self.register_buffer("bias", bias, persistent=False)
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """Weight (out, in), unpacked at each access, for modules that read the weight of a layer."""
        return self.packed.to_dense()

    def apply_to(self, x: Tensor) -> Tensor:
        """See `InferenceLinear.apply_to`."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, *_FUSED[self.activation])
        return y

    def times(self, x: Tensor, factor: Tensor) -> Tensor:
        """See `InferenceLinear.times`."""
        x, fused = x.to(self.dtype), torch.ops.mkldnn._linear_pointwise.binary
        y: Tensor = fused(x, factor, self.packed, self.bias, "mul")
        return y


class InPrecision(nn.Module):
    """A convolution or a norm of maps, computed and returned in a precision."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        """Copy a module; parameters that have the precision are shared."""
        super().__init__()
        self.dtype, self.module = dtype, copy_around(module, {})
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dtype is not dtype:
                rounded = nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
                setattr(self.module, name, rounded)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to (N, C, H, W) of any precision."""
        y: Tensor = self.module(x.to(self.dtype))
        return y


@dataclass
class FormBuilder:
    """Builder of the inference form of a model.

    Attributes:
        dtype: Precision of matrix products and of the decoder up to its head; cosines, logits, and sums and
            norms of tokens are in float32.
        packed: Whether linear layers are packed.
        release: Whether to free the parameters of the model that the form does not share.
    """

    dtype: torch.dtype
    packed: bool
    release: bool = False

    def linear(
        self,
        weight: Tensor,
        bias: Tensor | None,
        activation: Activation = "none",
        dtype: torch.dtype | None = None,
    ) -> InferenceLinear:
        """Build a linear layer.

        Args:
            weight: (out, in).
            bias: (out).
            activation: What follows: "silu" is x * sigmoid(x), "gelu" the exact GELU, "relu6" limits to 0..6.
            dtype: Precision of the layer and of its output; None: that of the form.

        Returns:
            The layer.
        """
        kind, dtype = PackedLinear if self.packed else InferenceLinear, dtype or self.dtype
        bias = None if bias is None else bias.detach().to(dtype)
        return kind(weight.detach().to(dtype), bias, activation)

    def convert(self, module: nn.Module) -> nn.Module:
        """Return the form of a module; modules without a form are copied around those of their children."""
        if isinstance(module, HasInferenceForm):
            form = module.inference_form(self)
        elif type(module) is nn.Linear:
            # Whatever stands around it may not be made for another precision.
            form = self.linear(module.weight, module.bias, dtype=module.weight.dtype)
        else:
            return self.copy(module, **self._fused(module) if isinstance(module, nn.Sequential) else {})
        if self.release:
            shared = {id(parameter) for parameter in form.parameters()}
            for parameter in module.parameters():
                if id(parameter) not in shared:
                    parameter.data = parameter.new_empty(0)
        return form

    def _fused(self, sequence: nn.Sequential) -> dict[str, nn.Module]:
        """Return name -> form of the linear layers with a GELU behind them, which becomes nothing."""
        fused: dict[str, nn.Module] = {}
        for (name, layer), (behind, activation) in pairwise(sequence.named_children()):
            if type(layer) is nn.Linear and type(activation) is nn.GELU and activation.approximate == "none":
                fused[name] = self.linear(layer.weight, layer.bias, "gelu", layer.weight.dtype)
                fused[behind] = nn.Identity()
        return fused

    def copy(self, module: M, **children: nn.Module) -> M:
        """Copy a module around the forms of its children; its own parameters and buffers are shared.

        Args:
            module: The module.
            children: Name -> what takes the place of a child.

        Returns:
            The copy.
        """
        converted = {
            name: child if child is None else self.convert(child)
            for name, child in module._modules.items()
            if name not in children
        }
        return copy_around(module, converted | children)


def copy_around(module: M, children: Mapping[str, nn.Module | None]) -> M:
    """Copy a module with other children; its own parameters and buffers are shared.

    Args:
        module: The module.
        children: Name -> what takes the place of a child; the others are shared.

    Returns:
        The copy, with the children in their order.
    """
    copied = copy.copy(module)
    copied._parameters = dict(module._parameters)
    copied._buffers = dict(module._buffers)
    copied._modules = {name: children.get(name, child) for name, child in module._modules.items()}
    return copied


class HasInferenceForm(nn.Module, ABC):
    """A module that has a faster equivalent for inference."""

    @abstractmethod
    def inference_form(self, builder: FormBuilder) -> nn.Module:
        """Return a module that is called as this one, and computes the same up to rounding.

        Args:
            builder: States the precision, and builds the parts.

        Returns:
            The form. Parameters that it holds are shared with this module.
        """


def packing_pays(device: torch.device) -> bool:
    """Return whether packed linear layers are faster than PyTorch's own on a device.

    They are on x86 processors with AVX2 or AVX-512: PyTorch's own go through MKL, which takes twice the time
    on some and a tenth more on others. The answer is a fact of the machine, not a measurement, which would
    let the rounding of results depend on how busy the machine is.

    Args:
        device: Device of the model.

    Returns:
        Whether they are; False where this version of PyTorch has none.
    """
    if device.type != "cpu" or not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return False
    try:
        with torch.no_grad():
            PackedLinear(torch.ones(1, 1), None, "none")(torch.ones(1, 1))
    except (AttributeError, RuntimeError):
        return False
    return True
