"""RS-Transfer: two upsampling stages guided by CLIP, RemoteCLIP and DINO (equation 8), and the head.

Shapes: N = B * t images times classes, C channel, G guidance channel, H W grid.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Guide(nn.Module):
    """One encoder's tapped map brought to a stage's resolution and width: ReLU(project(side(x)))."""

    def __init__(self, side: nn.Module, channels: int, out: int) -> None:
        super().__init__()
        self.side = side
        self.project = nn.Conv2d(channels, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, W, h, w) -> (B, G, H, W)."""
        return F.relu(self.project(self.side(x)))


def clip_guides(width: int, dim: int) -> nn.ModuleList:
    """Guides of a CLIP tower of this width, whose taps are on the cost volume's grid: x2 and x4."""
    return nn.ModuleList(
        [
            Guide(nn.ConvTranspose2d(width, 2 * dim, 2, stride=2), 2 * dim, dim // 4),
            Guide(nn.ConvTranspose2d(width, dim, 4, stride=4), dim, dim // 8),
        ]
    )


def dino_guides(width: int, dim: int) -> nn.ModuleList:
    """Guides of DINO, whose taps are on twice the cost volume's grid: x1 and x2."""
    return nn.ModuleList(
        [
            Guide(nn.Conv2d(width, 2 * dim, 1), 2 * dim, dim // 4),
            Guide(nn.ConvTranspose2d(width, dim, 2, stride=2), dim, dim // 8),
        ]
    )


class UpsampleStage(nn.Module):
    """x2: transposed convolution, guidance beside it, two 3x3 convolutions with GroupNorm and ReLU.

    The guidance channels are convolved once per image and added to every class, which equals convolving
    the concatenation [upsampled cost; guidance] of the published code up to float reassociation.
    """

    def __init__(self, inputs: int, outputs: int, guidance_dim: int, guides: int) -> None:
        super().__init__()
        self.raised = inputs - guidance_dim
        groups = max(outputs // 16, 1)
        self.up = nn.ConvTranspose2d(inputs, self.raised, 2, stride=2)
        self.conv1 = nn.Conv2d(self.raised + guides * guidance_dim, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, outputs)

    def convolve_guidance(self, guides: Sequence[Tensor]) -> Tensor:
        """Guides (B, G, H, W) in the order CLIP, RemoteCLIP, DINO -> their share of conv1, (B, C, H, W)."""
        return F.conv2d(torch.cat(list(guides), dim=1), self.conv1.weight[:, self.raised :], padding=1)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """x (B, t, C, h, w), convolved guidance (B, C', H, W) -> (B, t, C', 2h, 2w)."""
        raised = self.up(x.flatten(0, 1))
        cost = F.conv2d(raised, self.conv1.weight[:, : self.raised], padding=1).unflatten(0, x.shape[:2])
        mixed = F.relu(self.norm1((cost + guidance[:, None]).flatten(0, 1)))
        return F.relu(self.norm2(self.conv2(mixed))).unflatten(0, x.shape[:2])


class Decoder(nn.Module):
    """Two stages and a 3x3 head: cost embedding (B, T, C, h, w) -> logits (B, T, 4h, 4w)."""

    def __init__(self, dim: int, guides: int, chunk: int) -> None:
        super().__init__()
        self.chunk = chunk
        self.stages = nn.ModuleList(
            [
                UpsampleStage(dim, dim // 2, dim // 4, guides),
                UpsampleStage(dim // 2, dim // 4, dim // 8, guides),
            ]
        )
        self.head = nn.Conv2d(dim // 4, 1, 3, padding=1)

    def forward(self, x: Tensor, guides: Sequence[Sequence[Tensor]]) -> Tensor:
        """`guides[j]`: the guidance maps (B, G, H, W) of stage j. Classes pass in chunks."""
        guidance = [stage.convolve_guidance(maps) for stage, maps in zip(self.stages, guides, strict=True)]
        return torch.cat([self._decode(part, guidance) for part in x.split(self.chunk, dim=1)], dim=1)

    def _decode(self, x: Tensor, guidance: Sequence[Tensor]) -> Tensor:
        for stage, maps in zip(self.stages, guidance, strict=True):
            x = stage(x, maps)
        return self.head(x.flatten(0, 1)).squeeze(1).unflatten(0, x.shape[:2])
