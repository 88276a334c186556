"""The limit of this very machine: rates of matrix products and of copies, measured in the same run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import Clock, repeats_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Precision -> its dtype."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of what is measured.

    Attributes:
        encoder: Rows, inner side and columns of a product as in an MLP of an encoder.
        square: Side of a square product.
        copied: Bytes of a tensor that is copied.
    """

    encoder: tuple[int, int, int]
    square: int
    copied: int


CPU = Sizes((2308, 768, 3072), 2048, 1 << 28)
"""Sizes for a processor: those of four rotations of ViT-B/16 in CLIP."""
ACCELERATOR = Sizes((9232, 768, 3072), 8192, 1 << 30)
"""Sizes for an accelerator, which smaller products do not fill: those of four images."""
TINY = Sizes((37, 128, 512), 64, 1 << 16)
"""Sizes that show the course of a measurement, and no limit."""


@dataclass(frozen=True)
class Rate:
    """A rate of the machine.

    Attributes:
        name: What was measured.
        precision: "fp32" or "bf16" for a product; "" for a copy.
        rates: FLOPs a second of a product, bytes read and written a second of a copy, in order.
    """

    name: str
    precision: str
    rates: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of `rates`."""
        return median(self.rates)


class Limit:
    """Measures the machine at several times of a run, so that its rates meet the same load as the forms."""

    def __init__(
        self, device: torch.device, precisions: Sequence[str], clock: Clock, sizes: Sizes | None = None
    ) -> None:
        """Prepare the kernels.

        Args:
            device: The device.
            precisions: Keys of `DTYPES`.
            clock: What measures.
            sizes: Sizes of the products; None: those that fill the device.
        """
        self.clock = clock
        self.sizes = sizes or (CPU if device.type == "cpu" else ACCELERATOR)
        self.kernels = [each for name in precisions for each in self._products(device, name)]
        source = torch.zeros(self.sizes.copied, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        self.kernels.append(("copy", "", 2 * self.sizes.copied, lambda: target.copy_(source)))
        self.found: dict[tuple[str, str], list[float]] = {}

    def _products(
        self, device: torch.device, precision: str
    ) -> list[tuple[str, str, int, Callable[[], object]]]:
        square = self.sizes.square
        kernels: list[tuple[str, str, int, Callable[[], object]]] = []
        for rows, inner, columns in (self.sizes.encoder, (square, square, square)):
            x, weight, bias = (
                torch.randn(*shape, device=device, dtype=DTYPES[precision])
                for shape in ((rows, inner), (columns, inner), (columns,))
            )
            flops, shape = 2 * rows * inner * columns, f"{rows} x {inner} x {columns}"
            kernels.append((f"linear {shape}", precision, flops, _linear(x, weight, bias)))
            if device.type == "cpu" and torch.backends.mkldnn.is_available():
                kernels.append((f"packed {shape}", precision, flops, _packed(x, weight, bias)))
        return kernels

    @torch.inference_mode()
    def measure(self, times: int = 3) -> None:
        """Measure every kernel `times` times."""
        for name, precision, work, call in self.kernels:
            repeats = repeats_of(self.clock.measure(call).seconds)
            rates = [work / self.clock.measure(call, repeats).seconds for _ in range(times)]
            self.found.setdefault((name, precision), []).extend(rates)

    def rates(self) -> list[Rate]:
        """Return all that was measured."""
        return [Rate(*key, tuple(rates)) for key, rates in self.found.items()]


def peak(rates: Sequence[Rate], precision: str) -> float:
    """Return the limit of matrix products: the highest median rate, in FLOPs a second.

    Args:
        rates: What a run measured.
        precision: "fp32" or "bf16".

    Returns:
        FLOPs a second.
    """
    return max(each.median for each in rates if each.precision == precision)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Callable[[], object]:
    return lambda: F.linear(x, weight, bias)


def _packed(x: Tensor, weight: Tensor, bias: Tensor) -> Callable[[], object]:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
    return lambda: torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
