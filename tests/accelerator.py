"""A GPU that holds shapes, dtypes and devices but no values: what runs on it, runs on a real one unread.

Within `Accelerator` tensors of the device `DEVICE` are PyTorch's fake tensors; those of the CPU are real. So
everything on the CPU computes as always, and everything on the device only says what it would be. Reading a
value of the device, a shape that depends on one, and an operation on tensors of both devices fail; explicit
copies are counted, with the place in the code that asked for them.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten

import rskt_seg

DEVICE = torch.device("cuda:0")
PACKAGE = Path(rskt_seg.__file__).parent
TORCH, HERE = Path(torch.__file__).parent, Path(__file__)
aten = torch.ops.aten
WAITING = {aten._linalg_check_errors.default, aten.multinomial.default, aten.histc.default}
"""Operations that read a value on a real GPU though their results have shapes that are known."""


class CrossesDevices(AssertionError):
    """An operation on tensors of two devices, which a real GPU refuses or copies in silence."""


def _counts_a_mask(func: object, args: tuple) -> bool:
    """Return whether an operation assigns by a boolean mask, whose places a real GPU has to count."""
    assigning = (aten.index_put.default, aten.index_put_.default)
    return func in assigning and any(each is not None and each.dtype == torch.bool for each in args[1])


class Event(NamedTuple):
    """Something that passes between the CPU and the device, or is made on the CPU.

    Attributes:
        kind: "upload", "download", "read" (of a value, in silence), "cpu" (a tensor made there), "forward"
            (the model is done) or "backward".
        where: File and function of the package that asked for it, such as "finite.py:all_finite".
        within: Whether the model was computing: its `forward`, `losses` or `scores`.
    """

    kind: str
    where: str
    within: bool


def value_for(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return what a copy from the device holds: checks hold (True), ids are 0, numbers differ in 0..1."""
    if dtype == torch.bool or not dtype.is_floating_point:
        return torch.full(shape, dtype == torch.bool, dtype=dtype)
    return (torch.arange(1, shape.numel() + 1).remainder(9973) / 9973).view(shape).to(dtype)


class Accelerator:
    """The fake GPU; a context manager.

    Args:
        model: The model whose computing is told from what surrounds it.

    Attributes:
        events: What happened, in order.
    """

    def __init__(self, model: nn.Module) -> None:
        self.fake, self.events = FakeTensorMode(), []
        methods = (getattr(type(model), name) for name in ("forward", "losses", "scores"))
        self._computing = {method.__code__ for method in methods}

    def __enter__(self) -> "Accelerator":
        self._stack = ExitStack()
        lift = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) makes, then copies
        self._stack.callback(torch._C._set_only_lift_cpu_tensors, lift)
        for name, found in (("cuda.amp.common.amp_definitely_not_available", False),
                            ("cuda.is_bf16_supported", True)):  # fmt: skip
            self._stack.enter_context(mock.patch(f"torch.{name}", lambda *_, found=found: found))
        if not torch.cuda.is_available():
            self._stack.enter_context(mock.patch("torch.cuda._lazy_init", lambda: None))
        self._stack.enter_context(_WithoutEngine(self))
        self._stack.enter_context(_Dispatch(self))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def put(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the same shape and dtype on the device."""
        with _disable_current_modes():
            return FakeTensor(self.fake, tensor.detach().to("meta"), DEVICE)

    def move(self, module: nn.Module) -> None:
        """Move a module to the device, in place; tensors that are shared stay shared."""
        moved: dict[Tensor, Tensor] = {}
        for each in module.modules():
            for held in (each._parameters, each._buffers):
                for name, tensor in held.items():
                    if tensor is not None and tensor not in moved:
                        fake = self.put(tensor)
                        is_weight = held is each._parameters
                        moved[tensor] = nn.Parameter(fake, tensor.requires_grad) if is_weight else fake
                    held[name] = None if tensor is None else moved[tensor]

    def run(self, func, args: tuple, kwargs: dict):
        """Run an operation where its tensors are."""
        given = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
        fakes = [each for each in given if isinstance(each, FakeTensor)]
        target = kwargs.get("device")
        if func is aten._to_copy.default:
            return self._copy(args[0], target, kwargs)
        if func is aten.copy_.default and 0 < len(fakes) < len(given):
            return self._fill(args[0])
        if func is aten._local_scalar_dense.default and fakes:
            self.note("read")
            return value_for(torch.Size(), fakes[0].dtype).item()
        if fakes and (func in WAITING or _counts_a_mask(func, args)):
            self.note("read")
        if 0 < len(fakes) < len(given):
            raise CrossesDevices(f"{self._where()}: {func} of tensors on the device and on the CPU")
        if not given and target is not None and torch.device(target).type == DEVICE.type:
            with self.fake:
                return func(*args, **kwargs)
        if not given or (fakes and target is not None and torch.device(target).type == "cpu"):
            self.note("cpu")
        return func(*args, **kwargs)

    def _copy(self, source: Tensor, target: torch.device | None, kwargs: dict) -> Tensor:
        target = source.device if target is None else target
        dtype = kwargs.get("dtype") or source.dtype
        if target.type == source.device.type:
            return aten._to_copy.default(source, **kwargs)
        if target.type == "cpu":
            self.note("download")
            return value_for(source.shape, dtype)
        self.note("upload")
        return self.put(source.to(dtype))

    def _fill(self, into: Tensor) -> Tensor:
        self.note("upload" if isinstance(into, FakeTensor) else "download")
        if not isinstance(into, FakeTensor):
            into.copy_(value_for(into.shape, into.dtype))
        return into

    def note(self, kind: str) -> None:
        """Add an event."""
        within = any(frame.f_code in self._computing for frame in _frames())
        self.events.append(Event(kind, self._where(), within))

    def _where(self) -> str:
        for frame in _frames():
            path = Path(frame.f_code.co_filename)
            name = frame.f_code.co_qualname.split(".<locals>")[0]
            if path.is_relative_to(PACKAGE):
                return f"{path.relative_to(PACKAGE).as_posix()}:{name}"
            if path.is_relative_to(TORCH / "amp") or path.is_relative_to(TORCH / "optim"):
                return f"torch/{path.relative_to(TORCH).as_posix()}:{name}"
            if "detectron2" in path.parts or "fvcore" in path.parts:
                return f"{path.name}:{name}"
            if path != HERE and not path.is_relative_to(TORCH):
                return f"{path.name}:{name}"
        return "?"


class _Dispatch(TorchDispatchMode):
    def __init__(self, gpu: Accelerator) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.namespace == "prim":  # what a tensor says of itself
            return func(*args, **kwargs)
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:  # in inference mode, where what it is made of is not shown
                return func.decompose(*args, **kwargs)
        return self.gpu.run(func, args, kwargs)


def _frames() -> Iterator:
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


class _WithoutEngine(TorchFunctionMode):
    """What a GPU's driver would do: the backward pass, whose engine asks it for streams, and addresses."""

    def __init__(self, gpu: Accelerator) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is Tensor.backward and isinstance(args[0], FakeTensor):
            self.gpu.note("backward")
            return backward(args[0])
        if func in (Tensor.__repr__, Tensor.__format__) and isinstance(args[0], FakeTensor):
            self.gpu.note("read")
        if func is Tensor.data_ptr and isinstance(args[0], FakeTensor):
            return id(args[0])
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def backward(loss: Tensor) -> None:
    """Compute the gradients of all leaves of a scalar, node by node in the order of the graph."""
    order: list = []
    _visit(loss.grad_fn, set(), order)
    gradients: dict = {loss.grad_fn: {0: torch.ones_like(loss)}}
    for node in reversed(order):
        found = gradients.pop(node, None)
        if found is None:
            continue
        inputs = [found.get(i) for i in range(len(node._input_metadata))]
        if hasattr(node, "variable"):
            leaf, (gradient,) = node.variable, inputs
            assert gradient.shape == leaf.shape and gradient.device == leaf.device
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
            continue
        # Nodes of functions that are written in Python are called by another name.
        outputs = (node.apply if isinstance(node, BackwardCFunction) else node)(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for (following, index), gradient in zip(node.next_functions, outputs, strict=True):
            if following is None or gradient is None:
                continue
            expected = following._input_metadata[index]
            if gradient.shape != expected.shape:
                gradient = gradient.sum_to_size(expected.shape)
            gradient = gradient.to(expected.dtype)
            held = gradients.setdefault(following, {})
            held[index] = held[index] + gradient if index in held else gradient


def _visit(root, seen: set, order: list) -> None:
    """Append every node after all that it passes gradients to."""
    stack: list[tuple[object, Callable | Iterator]] = [(root, iter(root.next_functions))]
    seen.add(root)
    while stack:
        node, following = stack[-1]
        for each, _ in following:
            if each is not None and each not in seen:
                seen.add(each)
                stack.append((each, iter(each.next_functions)))
                break
        else:
            order.append(node)
            stack.pop()
