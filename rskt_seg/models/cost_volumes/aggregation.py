"""Layers that refine a cost embedding: one block over space, one over classes.

Shapes: B image, N = B * t images times classes, T class, C channel, G guidance channel, H W grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.models.cost_volumes.cost import per_class


def to_tokens(maps: Tensor) -> Tensor:
    """Flatten maps to tokens, (N, C, H, W) -> (N, H * W, C)."""
    return maps.flatten(2).transpose(1, 2)


def to_maps(tokens: Tensor, grid: torch.Size) -> Tensor:
    """Arrange tokens on a grid.

    Args:
        tokens: (N, H * W, C) in row-major order.
        grid: (H, W).

    Returns:
        (N, C, H, W).
    """
    return tokens.transpose(1, 2).unflatten(2, tuple(grid))


def to_class_tokens(x: Tensor, pooling: int) -> tuple[Tensor, torch.Size]:
    """Average-pool maps, and make the classes of each pooled cell a sequence.

    Args:
        x: (B, T, C, H, W).
        pooling: Side of a pooled cell.

    Returns:
        Tokens (B * h * w, T, C), and the pooled grid (h, w).
    """
    pooled = F.avg_pool2d(x.flatten(0, 1), pooling)
    tokens = pooled.unflatten(0, x.shape[:2]).permute(0, 3, 4, 1, 2).flatten(0, 2)
    return tokens, pooled.shape[2:]


def from_class_tokens(tokens: Tensor, grid: torch.Size, shape: torch.Size) -> Tensor:
    """Invert `to_class_tokens`, with bilinear resizing (align_corners True) in place of the pooling.

    Args:
        tokens: (B * h * w, T, C).
        grid: (h, w).
        shape: (B, T, C, H, W) of the result.

    Returns:
        (B, T, C, H, W).
    """
    pooled = tokens.unflatten(0, (shape[0], *grid)).permute(0, 3, 4, 1, 2).flatten(0, 1)
    raised = F.interpolate(pooled, size=shape[3:], mode="bilinear", align_corners=True)
    return raised.unflatten(0, shape[:2])


def beside_text(tokens: Tensor, text: Tensor) -> Tensor:
    """Concatenate class tokens and the text guidance of their classes.

    Args:
        tokens: (B * h * w, T, C).
        text: (B, T, G), or (1, T, G) for all images.

    Returns:
        (B * h * w, T, C + G).
    """
    cells = tokens.unflatten(0, (text.shape[0], -1))
    return torch.cat([cells, text[:, None].expand(-1, cells.shape[1], -1, -1)], dim=-1).flatten(0, 1)


class AggregationLayer(nn.Module):
    """One block over space, a few classes at a time, then one over classes."""

    def __init__(self, spatial: nn.Module, classes: nn.Module, chunk: int) -> None:
        super().__init__()
        self.spatial, self.classes, self.chunk = spatial, classes, chunk

    def forward(self, x: Tensor, image: Tensor, text: Tensor) -> Tensor:
        """Refine a cost embedding.

        Args:
            x: (B, T, C, H, W).
            image: Image guidance (B, G, H, W).
            text: Text guidance (B, T, C), or (1, T, C) for all images.

        Returns:
            (B, T, C, H, W).
        """
        repeated = image[:, None].expand(-1, x.shape[1], -1, -1, -1)
        return self.classes(per_class(self.spatial, self.chunk, x, repeated), text)
