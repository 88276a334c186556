"""Where the cells of a context lie relative to those of its patch.

A window is (top, left, height, width) in patch sides, measured from the upper left corner of the patch: the
patch itself is (0, 0, 1, 1), a centred context of factor 3 is (-1, -1, 3, 3). An axis of it is (start,
length). Cell i of a feature map is centred at the pixel `stride * i + offset` of the network input, whose
side is the same for patch and context. All functions return float64, one row for each window.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

PATCH = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Grid:
    """One axis of the feature maps: `cells` of them over `side` input pixels."""

    cells: int
    side: int
    stride: int
    offset: float

    def centres(self, device: torch.device) -> Tensor:
        """Input pixels at the centres of the cells, (cells,)."""
        return self.stride * torch.arange(self.cells, dtype=torch.float64, device=device) + self.offset


def centred(factor: float) -> tuple[float, float, float, float]:
    """The window of a centred context whose side is `factor` patch sides."""
    return ((1 - factor) / 2, (1 - factor) / 2, factor, factor)


def positions_in_patch(axis: Tensor, grid: Grid) -> Tensor:
    """Where the cells of a context lie, in cells of the patch: windows (B, 2) -> (B, cells)."""
    start, length = axis.double().unbind(1)
    pixels = start[:, None] * grid.side + grid.centres(axis.device) * length[:, None]
    return (pixels - grid.offset) / grid.stride


def positions_in_context(axis: Tensor, grid: Grid) -> Tensor:
    """Where the cells of the patch lie, in cells of a context: windows (B, 2) -> (B, cells)."""
    start, length = axis.double().unbind(1)
    pixels = (grid.centres(axis.device) - start[:, None] * grid.side) / length[:, None]
    return (pixels - grid.offset) / grid.stride


def interpolation(positions: Tensor, cells: int) -> Tensor:
    """Linear interpolation at `positions` (B, n) of a line of `cells` as matrices (B, n, cells).

    Positions outside are taken at the border.
    """
    nodes = torch.arange(cells, dtype=positions.dtype, device=positions.device)
    return (1 - (positions.clamp(0, cells - 1)[..., None] - nodes).abs()).clamp(min=0)


def resample(features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """rows (B, h', h) and columns (B, w', w) applied to both axes of (B, C, h, w): (B, C, h', w')."""
    rows, columns = rows.to(features.dtype), columns.to(features.dtype)
    return rows[:, None] @ (features @ columns[:, None].mT)


def crop_upsample(features: Tensor, windows: Tensor, grids: tuple[Grid, Grid]) -> Tensor:
    """The part of a context's features that the patch covers, on the patch's own grid (section 3.4).

    Exact bilinear resampling with border clamp, without rounding to whole cells. Args: features (B, C, h, w),
    windows (B or 1, 4), the (row, column) grids. Returns (B, C, h, w).
    """
    rows, columns = (
        interpolation(positions_in_context(axis, grid), grid.cells)
        for axis, grid in zip((windows[:, 0::2], windows[:, 1::2]), grids, strict=True)
    )
    return resample(features, rows, columns)
