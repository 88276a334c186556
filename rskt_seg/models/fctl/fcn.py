"""The decoder of FCN-8s (Long et al. 2015): VGG's classifier as convolutions, two skips, fixed upsampling.

Shapes: B patch, T class, C channel, H W grid.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FcnLayout:
    """Where maps are cut so that they lie on each other, and how skips are scaled.

    `padding`: of the 7 x 7 convolution. `skip_scales`, `skip_offsets`, `up_offsets`: for the skip at 1/16,
    then at 1/8. `final_offset`: first pixel of the image in the last upsampled map.
    """

    padding: int
    skip_scales: tuple[float, float]
    skip_offsets: tuple[int, int]
    up_offsets: tuple[int, int]
    final_offset: int


PADDED_VGG = FcnLayout(0, (0.01, 0.0001), (5, 9), (0, 0), 31)
"""FCN-8s' own, for an encoder that pads its input by 100 pixels."""
UNPADDED = FcnLayout(3, (1.0, 1.0), (0, 0), (1, 1), 4)
"""For encoders whose cells cover the image without a margin (MiT): cells are taken for squares side by side,
as SegFormer's decoder takes them."""


def bilinear_kernel(channels: int, side: int) -> Tensor:
    """Weights (T, T, side, side) of a transposed convolution that interpolates every channel alone.

    The taps of one axis are 1 - |i - centre| / f with f = (side + 1) // 2, for an even side.
    """
    factor = (side + 1) // 2
    taps = 1 - (torch.arange(side) - (side - 1) / 2).abs() / factor
    return torch.eye(channels)[:, :, None, None] * torch.outer(taps, taps)


def _upsampler(channels: int, factor: int, trained: bool) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, bias=False)
    with torch.no_grad():
        layer.weight.copy_(bilinear_kernel(channels, 2 * factor))
    return layer.requires_grad_(trained)


class FcnDecoder(nn.Module):
    """Logits of a patch from its last map and two skips.

    Args: `widths` of the encoder's maps at 1/8, 1/16, 1/32; `hidden` channels of the two layers that stand
    for VGG's classifier; `trained_upsampling` trains the transposed convolutions, which start bilinear.
    """

    def __init__(
        self,
        widths: tuple[int, int, int],
        hidden: int,
        classes: int,
        layout: FcnLayout,
        trained_upsampling: bool = False,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.conv6 = nn.Conv2d(widths[2], hidden, 7, padding=layout.padding)
        self.conv7 = nn.Conv2d(hidden, hidden, 1)
        self.score = nn.Conv2d(hidden, classes, 1)
        self.dropout = nn.Dropout(0.5)
        self.skip4 = nn.Conv2d(widths[1], classes, 1)
        self.skip3 = nn.Conv2d(widths[0], classes, 1)
        self.up5, self.up4 = (_upsampler(classes, 2, trained_upsampling) for _ in range(2))
        self.up3 = _upsampler(classes, 8, trained_upsampling)

    def forward(self, skips: tuple[Tensor, Tensor], last: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, T, *size); `skips` at 1/16 and 1/8, `last` at 1/32 (23 x 23 for 508 x 508)."""
        x = self.dropout(self.conv6(last).relu())
        x = self.dropout(self.conv7(x).relu())
        scored = (
            layer(skip * s)
            for layer, skip, s in zip(self._skips, skips, self.layout.skip_scales, strict=True)
        )
        x = self.score(x)
        for i, (up, skip) in enumerate(zip((self.up5, self.up4), scored, strict=True)):
            x = _overlay(up(x), self.layout.up_offsets[i], skip, self.layout.skip_offsets[i])
        start = self.layout.final_offset
        return self.up3(x)[:, :, start : start + size[0], start : start + size[1]]

    @property
    def _skips(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        return self.skip4, self.skip3


def _overlay(a: Tensor, a_start: int, b: Tensor, b_start: int) -> Tensor:
    """Sum of two maps from their cells (start, start) on, as far as both reach."""
    a, b = a[:, :, a_start:, a_start:], b[:, :, b_start:, b_start:]
    height, width = (min(a.shape[i], b.shape[i]) for i in (2, 3))
    return a[:, :, :height, :width] + b[:, :, :height, :width]
