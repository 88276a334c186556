"""Convolutions with large kernels by Fourier transform, with gradients.

The transform of a kernel changes with every step, and is larger than what it is multiplied by. It is computed
for the frequencies of one column at a time, which stay in cache, and again for the backward pass.
Shapes: N map, I and O channels in and out, K taps of a side, P rows and Q columns of frequencies; an axis of
2 are real and imaginary parts.
"""

from math import tau
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES_AT_A_TIME = 32
"""Maps of a call: the more share the transform of a kernel, the better; each takes 2 MB for 256 channels."""


class TrainedFourierConv(nn.Module):
    """A convolution of stride 1 that keeps the size of square maps, with the parameters of another."""

    def __init__(self, conv: nn.Conv2d, side: int) -> None:
        """Share the weights.

        Args:
            conv: The convolution, with an odd kernel k, padding k // 2 and a bias.
            side: Side of the maps.
        """
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.transforms = _Transforms(side, conv.kernel_size[0], conv.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve maps, (N, I, side, side) float32 -> (N, O, side, side)."""
        y: Tensor = _FourierConv.apply(x, self.weight, self.bias, self.transforms)
        return y


class _Transforms:
    """Transforms of maps and kernels.

    What wraps around in a circular transform of `side` + K // 2 cells falls outside of the wanted part.
    """

    def __init__(self, side: int, taps: int, device: torch.device) -> None:
        self.side, self.taps, self.margin = side, taps, taps // 2
        self.size = side + self.margin
        self.columns = self.size // 2 + 1
        # Taps are flipped, because a product of transforms is a convolution, and layers correlate.
        places = torch.arange(taps - 1, -1, -1, dtype=torch.float64)
        angles = -tau / self.size * torch.arange(self.size, dtype=torch.float64)[:, None] * places
        cos, sin = angles.cos(), angles.sin()  # (P, K)
        along = torch.cat([cos[: self.columns], sin[: self.columns]])
        down = torch.stack([torch.cat([cos, -sin], dim=1), torch.cat([sin, cos], dim=1)], dim=1)
        self.along, self.down = along.float().to(device), down.flatten(0, 1).float().to(device)

    def of_maps(self, x: Tensor) -> Tensor:
        """Transform maps (N, C, h, w), padded to the size, -> (Q, P, 2 N, C), real parts first."""
        parts = torch.view_as_real(torch.fft.rfft2(x, s=(self.size, self.size)))
        return parts.permute(3, 2, 4, 0, 1).flatten(2, 3)

    def to_maps(self, parts: Tensor) -> Tensor:
        """Transform back, (Q, P, 2, N, C) -> (N, C, size, size)."""
        spectrum = torch.view_as_complex(parts.permute(3, 4, 1, 0, 2).contiguous())
        return torch.fft.irfft2(spectrum, s=(self.size, self.size))

    def along_rows(self, weight: Tensor) -> Tensor:
        """Transform the rows of kernels, (O, I, K, K) -> (2, Q, K, I * O)."""
        taps = weight.permute(3, 2, 1, 0).reshape(self.taps, -1)
        return (self.along @ taps).view(2, self.columns, self.taps, -1)

    def down_column(self, rows: Tensor, channels: int) -> Tensor:
        """Transform a column of transformed rows, (2, K, I * O) -> (P, 2, I, O), O being `channels`."""
        return (self.down @ rows.reshape(2 * self.taps, -1)).view(self.size, 2, -1, channels)

    def add_up_column(self, gradient: Tensor) -> Tensor:
        """Apply the transpose of `down_column`."""
        return (self.down.T @ gradient.view(2 * self.size, -1)).view(2, self.taps, -1)

    def add_up_rows(self, gradient: Tensor, channels: int) -> Tensor:
        """Apply the transpose of `along_rows`."""
        taps = self.along.T @ gradient.view(2 * self.columns, -1)
        return taps.view(self.taps, self.taps, -1, channels).permute(3, 2, 1, 0)


class _FourierConv(torch.autograd.Function):
    """`TrainedFourierConv`; a complex product is four real ones, of both parts with both parts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, transforms: _Transforms) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.transforms, n, outputs = transforms, len(x), len(weight)
        kernel_rows, maps = transforms.along_rows(weight), transforms.of_maps(x)
        product = x.new_empty(*maps.shape[:2], 2, n, outputs)
        for column, of_maps in enumerate(maps):
            parts = of_maps[:, None] @ transforms.down_column(
                kernel_rows[:, column], outputs
            )  # (P, 2, 2 N, O)
            torch.sub(parts[:, 0, :n], parts[:, 1, n:], out=product[column, :, 0])
            torch.add(parts[:, 1, :n], parts[:, 0, n:], out=product[column, :, 1])
        wanted = slice(transforms.margin, transforms.size)
        return transforms.to_maps(product)[..., wanted, wanted] + bias[:, None, None]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        transforms, n, outputs, (gradient,) = ctx.transforms, len(x), len(weight), grads
        kernel_rows, maps = transforms.along_rows(weight), transforms.of_maps(x)
        of_output = transforms.of_maps(F.pad(gradient, (transforms.margin, 0, transforms.margin, 0)))
        of_input, of_rows = torch.empty_like(maps).unflatten(2, (2, n)), torch.empty_like(kernel_rows)
        for column, (of_maps, given) in enumerate(zip(maps, of_output, strict=True)):
            kernels = transforms.down_column(kernel_rows[:, column], outputs)
            parts = given[:, None] @ kernels.transpose(2, 3)  # (P, 2, 2 N, I): with the conjugate kernel
            torch.add(parts[:, 0, :n], parts[:, 1, n:], out=of_input[column, :, 0])
            torch.sub(parts[:, 0, n:], parts[:, 1, :n], out=of_input[column, :, 1])
            # A column of the transform of real maps stands for its mirror image as well, unless it is that.
            given = given * ((1 if 2 * column in (0, transforms.size) else 2) / transforms.size**2)
            turned = torch.cat([given[:, n:], -given[:, :n]], dim=1)
            of_kernels = of_maps.mT[:, None] @ torch.stack([given, turned], dim=1)  # (P, 2, I, O)
            of_rows[:, column] = transforms.add_up_column(of_kernels)
        of_x = transforms.to_maps(of_input)[..., : transforms.side, : transforms.side]
        return of_x, transforms.add_up_rows(of_rows, outputs), gradient.sum((0, 2, 3)), None
