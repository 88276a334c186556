"""Floating-point operations of a call, by one rule and two counters that have to agree.

The rule is `RULE`. PyTorch's counter sees every operation that runs, on tensors without values too (device
"meta"). fvcore's, which users of Detectron2 know, reads a trace of the call; its own handlers leave attention
out, and count norms and resizing: `HANDLES` take their place.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

RULE = (
    "a multiply-add counts as 2 FLOPs; counted are convolutions, transposed convolutions, matrix and vector "
    "products and both products of attention; nothing else is: no norm, softmax, resizing or other "
    "elementwise work"
)
aten = torch.ops.aten


def count_flops(run: Callable[[], object]) -> int:
    """Count the FLOPs of a call by `RULE`, with PyTorch's counter.

    Args:
        run: The call. Its tensors may be on the device "meta"; parameters must not require gradients (see
            `counting`).

    Returns:
        FLOPs.
    """
    products = {aten.mv: _vector_flops, aten.addmv: _added_vector_flops, aten.dot: _dot_flops}
    counter = FlopCounterMode(display=False, custom_mapping=products)
    with _BlankReads(), counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return int(counter.get_total_flops())


def _vector_flops(matrix: Sequence[int], *_: object, **__: object) -> int:
    return 2 * math.prod(matrix)


def _added_vector_flops(_: object, matrix: Sequence[int], *__: object, **___: object) -> int:
    return 2 * math.prod(matrix)


def _dot_flops(vector: Sequence[int], *_: object, **__: object) -> int:
    return 2 * math.prod(vector)


@contextmanager
def counting(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, without gradients.

    Args:
        model: The model. Its parameters do not require gradients inside the block, which PyTorch's counter
            would need a graph for; all is restored afterwards.

    Yields:
        Nothing.
    """
    trained, training = [each for each in model.parameters() if each.requires_grad], model.training
    try:
        for each in trained:
            each.requires_grad_(False)
        model.eval()
        with torch.no_grad():
            yield
    finally:
        model.train(training)
        for each in trained:
            each.requires_grad_(True)


class _BlankReads(TorchDispatchMode):
    """Copies from the device "meta", which has no values, are zeros, and truth values true: checks hold."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is not None and first.is_meta:
            if func is aten._local_scalar_dense.default:
                return first.dtype == torch.bool
            target = kwargs.get("device") or first.device
            if func is aten._to_copy.default and target.type != "meta":
                dtype = kwargs.get("dtype") or first.dtype
                return torch.full(first.shape, dtype == torch.bool, dtype=dtype, device=target)
        return func(*args, **kwargs)


def trace_flops(model: nn.Module, run: Callable[[], object]) -> int | None:
    """Count the FLOPs of a call by `RULE`, with fvcore.

    Args:
        model: The model that the call uses, with values: tracing does not work on the device "meta".
        run: The call.

    Returns:
        FLOPs; None if the call cannot be traced, as one that computes a size from a value.
    """
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.jit_handles import conv_flop_jit

    analysis = FlopCountAnalysis(_Call(model, run), torch.zeros(1))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    analysis.clear_op_handles().set_op_handle("aten::_convolution", conv_flop_jit)
    analysis.set_op_handle(**{f"aten::{name}": handle for name, handle in HANDLES.items()})
    try:
        return 2 * int(analysis.total())
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        logging.getLogger(__name__).info("fvcore cannot trace %s: %r", type(model).__name__, error)
        return None


class _Call(nn.Module):
    """A call as a module that fvcore can trace, whatever it returns."""

    def __init__(self, model: nn.Module, run: Callable[[], object]) -> None:
        super().__init__()
        self.model, self.run = model, run

    def forward(self, unused: Tensor) -> list[Tensor]:
        """Make the call, and return every tensor of its output."""
        # A trace leaves out what no output depends on.
        return [unused, *_tensors(self.run())]


def _tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors in the output of a model."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield from _tensors(getattr(value, each.name))
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)


def _shape(value: Any) -> list[int]:
    return cast(list[int], value.type().sizes())


# The arguments of handlers are values of torch's tracer (torch._C.Value); the results are multiply-adds.
def _product(inputs: list[Any], outputs: list[Any]) -> int:
    """Count the products of matrices and vectors, the first operand times the second or its transpose."""
    return math.prod(_shape(outputs[0])) * _shape(inputs[0])[-1]


def _added_product(inputs: list[Any], outputs: list[Any]) -> int:
    return _product(inputs[1:], outputs)


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Count queries (..., L, C) with keys (..., S, C), and weights with values (..., S, V)."""
    queries, keys, values = (_shape(each) for each in inputs[:3])
    return math.prod(queries[:-1]) * keys[-2] * (queries[-1] + values[-1])


def _einsum(inputs: list[Any], _: list[Any]) -> int:
    """Count a contraction of two operands: the product of the sizes of all labels.

    A label of one operand alone that is not in the result is summed first, and without a label to contract
    the operands are multiplied element by element.
    """
    terms, _arrow, result = inputs[0].toIValue().replace(" ", "").partition("->")
    first, _comma, second = terms.partition(",")
    if "," in second or not second or "." in terms:
        raise ValueError(f"an einsum must be of two operands with named axes to be counted; found {terms}")
    operands = inputs[1].node().inputs()
    sizes = {
        label: size
        for term, each in zip((first, second), operands, strict=True)
        for label, size in zip(term, _shape(each), strict=True)
    }
    contracted = (set(first) & set(second)) - set(result)
    return math.prod(sizes[label] for label in contracted | set(result)) if contracted else 0


HANDLES: dict[str, Callable[[list[Any], list[Any]], int]] = {
    **dict.fromkeys(("linear", "matmul", "mm", "bmm", "mv", "dot"), _product),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), _added_product),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
}
"""Operation of fvcore's trace -> its multiply-adds; convolutions have fvcore's own handler."""
