"""Position tables resized to another grid, in the ways of the published encoders."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_to_grid(table: Tensor, grid: tuple[int, int], antialias: bool = False) -> Tensor:
    """Resize a position table to the size of a grid, bicubically (align_corners False).

    Args:
        table: (1 + g * g, C), position of the class token first.
        grid: (rows, columns).
        antialias: False as in the published RSKT-Seg, True as in open_clip and timm. With antialiasing torch
            uses another cubic (coefficient -0.5 instead of -0.75), so that enlarged tables differ as well.

    Returns:
        (1 + rows * columns, C); `table` itself if its grid is already (rows, columns).
    """
    side = math.isqrt(len(table) - 1)
    if grid == (side, side):
        return table
    patches = F.interpolate(
        _patch_positions(table, side), grid, mode="bicubic", align_corners=False, antialias=antialias
    )
    return _to_table(table[:1], patches)


def rescale_to_grid(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize a DINO table (v1, and v2 without registers) bicubically by the scale factor (grid + 0.1) / g.

    The extra 0.1 is DINO's guard against rounding down. The sampling step follows the scale, not the sizes,
    so the values differ from those of `resize_to_grid` (from 28 x 28 to 48 x 48 the published scale is
    1.717857...).

    Args:
        table: (1 + g * g, C), position of the class token first.
        grid: (rows, columns).

    Returns:
        (1 + rows * columns, C); `table` itself if its grid is already (rows, columns).
    """
    side = math.isqrt(len(table) - 1)
    if grid == (side, side):
        return table
    scale = ((grid[0] + 0.1) / side, (grid[1] + 0.1) / side)
    patches = F.interpolate(
        _patch_positions(table, side), scale_factor=scale, mode="bicubic", align_corners=False
    )
    return _to_table(table[:1], patches)


def _patch_positions(table: Tensor, side: int) -> Tensor:
    """Arrange the positions of the patches as a map, (1 + g * g, C) -> (1, C, g, g)."""
    return table[1:].T.reshape(1, -1, side, side)


def _to_table(class_position: Tensor, patches: Tensor) -> Tensor:
    """Put the class position (1, C) before the positions of the patches (1, C, H, W), (1 + H * W, C)."""
    return torch.cat([class_position, patches.flatten(2)[0].T])
