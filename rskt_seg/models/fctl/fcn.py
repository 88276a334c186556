"""The decoder of FCN-8s (Long et al. 2015): VGG's classifier as convolutions, two skips, fixed upsampling.

Shapes: B patch, T class, C channel, H W grid.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FcnLayout:
    """Offsets that align the maps of FCN-8s, and the scales of its skips.

    Attributes:
        padding: Padding of the 7 x 7 convolution.
        skip_scales: Factors of the skips at 1/16 and at 1/8.
        skip_offsets: First row and column used of the skips at 1/16 and at 1/8.
        up_offsets: First row and column used of the upsampled maps that the two skips are added to.
        final_offset: Row and column of the last upsampled map where the image begins.
    """

    padding: int
    skip_scales: tuple[float, float]
    skip_offsets: tuple[int, int]
    up_offsets: tuple[int, int]
    final_offset: int


PADDED_VGG = FcnLayout(0, (0.01, 0.0001), (5, 9), (0, 0), 31)
"""The published layout, for an encoder that pads its input by 100 pixels."""
UNPADDED = FcnLayout(3, (1.0, 1.0), (0, 0), (1, 1), 4)
"""For encoders whose cells tile the image without a margin (MiT), as SegFormer's decoder assumes."""


def bilinear_kernel(channels: int, side: int) -> Tensor:
    """Return the weights of a transposed convolution that interpolates each channel bilinearly.

    The taps of one axis are 1 - |i - center| / f with f = (side + 1) // 2.

    Args:
        channels: Number of channels T.
        side: Side of the kernel, an even number.

    Returns:
        (T, T, side, side) float32; zero between different channels.
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

    Args:
        widths: Channels of the encoder's maps at 1/8, 1/16 and 1/32.
        hidden: Channels of the two layers that replace VGG's classifier.
        classes: Number of classes T.
        layout: How the maps are aligned.
        trained_upsampling: Train the transposed convolutions, which start as bilinear interpolation.
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
        """Compute the logits of every pixel of a patch.

        Args:
            skips: Maps (B, C, H, W) of the encoder at 1/16 and at 1/8.
            last: Map (B, C, H, W) at 1/32 (23 x 23 for a patch of 508 x 508).
            size: Height and width of the patch.

        Returns:
            Logits (B, T, *size).
        """
        layout = self.layout
        x = self.dropout(self.conv6(last).relu())
        x = self.dropout(self.conv7(x).relu())
        x = self.score(x)  # (B, T, H, W) at 1/32, then at 1/16 and 1/8
        stages = ((self.up5, self.skip4), (self.up4, self.skip3))
        for i, (up, score_skip) in enumerate(stages):
            # Both maps are cut to the area that they cover in common.
            start = layout.skip_offsets[i]
            skip = score_skip(skips[i] * layout.skip_scales[i])[:, :, start:, start:]
            start = layout.up_offsets[i]
            x = up(x)[:, :, start:, start:]
            rows, columns = (min(x.shape[axis], skip.shape[axis]) for axis in (2, 3))
            x = x[:, :, :rows, :columns] + skip[:, :, :rows, :columns]
        start = layout.final_offset
        return self.up3(x)[:, :, start : start + size[0], start : start + size[1]]
