"""Convolutions with large kernels by Fourier transform, for inference."""

import torch
from torch import Tensor, nn


class FourierConv(nn.Module):
    """A convolution of stride 1 that keeps the size of square maps, by Fourier transform.

    The circular transform is larger than the map by half a kernel: what wraps around falls outside of the
    wanted part. For 256 to 128 channels and 7 x 7 taps on 24 x 24 cells it takes 6 % of the operations.
    """

    spectrum: Tensor

    def __init__(self, conv: nn.Conv2d, side: int) -> None:
        """Transform the weights.

        Args:
            conv: The convolution, with an odd kernel k, padding k // 2 and a bias.
            side: Side of the maps.
        """
        super().__init__()
        self.margin, self.side = conv.kernel_size[0] // 2, side
        self.size = (side + self.margin, side + self.margin)
        # Flipped, because a product of transforms is a convolution, and layers correlate.
        weight = conv.weight.detach().flip(2, 3)
        spectrum = torch.fft.rfft2(weight, s=self.size).flatten(2).permute(2, 1, 0)  # (frequency, in, out)
        self.register_buffer("spectrum", torch.view_as_real(spectrum.contiguous()), persistent=False)
        assert conv.bias is not None
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """Convolve maps, (N, in, side, side) float32 -> (N, out, side, side)."""
        transformed = torch.fft.rfft2(x, s=self.size)  # (N, in, size, size // 2 + 1)
        product = torch.bmm(transformed.flatten(2).permute(2, 0, 1), torch.view_as_complex(self.spectrum))
        spectrum = product.permute(1, 2, 0).unflatten(2, transformed.shape[2:])  # (N, out, ...)
        wanted = slice(self.margin, self.margin + self.side)
        return torch.fft.irfft2(spectrum, s=self.size)[..., wanted, wanted] + self.bias[:, None, None]
