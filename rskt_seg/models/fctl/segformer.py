"""The decoder of SegFormer (Xie et al. 2021): one linear layer per stage, fused at a quarter of the size.

Shapes: B patch, T class, C channel, H W grid.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SegFormerDecoder(nn.Module):
    """Logits of a patch from the four stages of a MiT encoder.

    Args:
        widths: Channels of the stages, from the finest to the coarsest.
        hidden: Channels inside the decoder (768 for B2 and B5).
        classes: Number of classes T.
    """

    def __init__(self, widths: Sequence[int], hidden: int, classes: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
        self.fuse = nn.Conv2d(len(widths) * hidden, hidden, 1, bias=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.dropout = nn.Dropout2d(0.1)
        self.score = nn.Conv2d(hidden, classes, 1)

    def forward(self, stages: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Compute the logits of every pixel of a patch.

        Args:
            stages: One map (B, C, H, W) per stage, the finest first; all are resized to its grid.
            size: Height and width that the logits are resized to bilinearly.

        Returns:
            Logits (B, T, *size).
        """
        grid = stages[0].shape[2:]
        maps = [
            F.interpolate(layer(x.movedim(1, -1)).movedim(-1, 1), size=grid, mode="bilinear")
            for layer, x in zip(self.project, stages, strict=True)
        ]
        # The coarsest stage comes first, as in the published weights: (B, 4 * hidden, H, W).
        x = self.norm(self.fuse(torch.cat(maps[::-1], dim=1))).relu()
        return F.interpolate(self.score(self.dropout(x)), size=size, mode="bilinear")
