"""Position tables resized to another grid, in the ways the published encoders do it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_to_grid(table: Tensor, grid: tuple[int, int], antialias: bool = False) -> Tensor:
    """Bicubic resize of a table to `grid` = (rows, columns), align_corners False.

    `table` (1 + g * g, C) with the class row first; returns (1 + rows * columns, C). The table itself
    is returned where its grid is the one asked for. Without `antialias` as the published RSKT-Seg does it,
    with it as open_clip and timm do: torch then takes another cubic (coefficient -0.5 instead of -0.75), so
    that larger grids differ as well.
    """
    side = math.isqrt(len(table) - 1)
    if grid == (side, side):
        return table
    return _resize(table, side, size=grid, antialias=antialias)


def rescale_to_grid(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bicubic resize of a DINO table (v1, and v2 without registers) by the scale factor (grid + 0.1) / g.

    The extra 0.1 is DINO's guard against rounding down; the sampling step follows the scale, not the
    sizes, so the values differ from `resize_to_grid` (at 48 x 48 from 28 x 28 the published code has
    1.717857...). Shapes as in `resize_to_grid`.
    """
    side = math.isqrt(len(table) - 1)
    if grid == (side, side):
        return table
    return _resize(table, side, scale_factor=((grid[0] + 0.1) / side, (grid[1] + 0.1) / side))


def _resize(table: Tensor, side: int, **how: object) -> Tensor:
    patches = table[1:].T.reshape(1, -1, side, side)
    patches = F.interpolate(patches, mode="bicubic", align_corners=False, **how)
    return torch.cat([table[:1], patches.flatten(2)[0].T])
