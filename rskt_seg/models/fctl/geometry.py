"""Where the cells of a context's feature map lie relative to those of its patch.

A window is (top, left, height, width) in patch sides, measured from the upper left corner of the patch: the
patch itself is (0, 0, 1, 1), a centered context of factor 3 is (-1, -1, 3, 3). One axis of a window is
(start, length). Cell i of a feature map is centered at the pixel `stride * i + offset` of the network input;
patches and contexts are resized to the same input size. Positions and matrices are float64, one row for each
window. Shapes: B patch, C channel, h w grid of the feature maps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

PATCH_WINDOW = (0.0, 0.0, 1.0, 1.0)
"""The window of the patch itself."""


@dataclass(frozen=True)
class Grid:
    """One axis of the feature maps.

    Attributes:
        cells: Number of cells.
        side: Length (px) of the axis of the network input.
        stride: Distance (px) of neighboring cells.
        offset: Input pixel at the center of the first cell.
    """

    cells: int
    side: int
    stride: int
    offset: float

    def centers(self, device: torch.device) -> Tensor:
        """Return the input pixels at the centers of the cells, (cells,) float64."""
        return self.stride * torch.arange(self.cells, dtype=torch.float64, device=device) + self.offset


def centered_window(factor: float) -> tuple[float, float, float, float]:
    """Return the window of a centered context whose side is `factor` patch sides."""
    return ((1 - factor) / 2, (1 - factor) / 2, factor, factor)


def window_tensor(window: tuple[float, float, float, float], device: torch.device) -> Tensor:
    """Return a window as (1, 4) float64; filled on the device, for a copy would wait for it."""
    sides = [torch.full((1,), side, dtype=torch.float64, device=device) for side in window]
    return torch.cat(sides)[None]


def positions_in_patch(axis: Tensor, grid: Grid) -> Tensor:
    """Return the positions of the context's cells, in cells of the patch.

    Args:
        axis: (B, 2), one axis of the windows.
        grid: The same axis of the feature maps.

    Returns:
        (B, cells) float64.
    """
    start, length = axis.double().unbind(1)
    pixels = start[:, None] * grid.side + grid.centers(axis.device) * length[:, None]
    return (pixels - grid.offset) / grid.stride


def positions_in_context(axis: Tensor, grid: Grid) -> Tensor:
    """Return the positions of the patch's cells, in cells of the context.

    Args:
        axis: (B, 2), one axis of the windows.
        grid: The same axis of the feature maps.

    Returns:
        (B, cells) float64.
    """
    start, length = axis.double().unbind(1)
    pixels = (grid.centers(axis.device) - start[:, None] * grid.side) / length[:, None]
    return (pixels - grid.offset) / grid.stride


def interpolation_matrices(positions: Tensor, cells: int) -> Tensor:
    """Return the matrices that interpolate a line of `cells` values linearly at given positions.

    Args:
        positions: (B, n) float, in cells; positions outside the line take the value at its border.
        cells: Number of values on the line.

    Returns:
        (B, n, cells) of the dtype of `positions`; rows sum to 1.
    """
    nodes = torch.arange(cells, dtype=positions.dtype, device=positions.device)
    return (1 - (positions.clamp(0, cells - 1)[..., None] - nodes).abs()).clamp(min=0)


def resample(features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply one matrix to the rows and one to the columns of feature maps.

    Args:
        features: (B, C, h, w).
        rows: (B, h', h).
        columns: (B, w', w).

    Returns:
        (B, C, h', w') of the dtype of `features`.
    """
    rows, columns = rows.to(features.dtype), columns.to(features.dtype)
    return rows[:, None] @ (features @ columns[:, None].mT)


def crop_upsample(features: Tensor, windows: Tensor, grids: tuple[Grid, Grid]) -> Tensor:
    """Crop the part of a context's features that the patch covers and resample it to the patch's grid.

    Section 3.4. Exact bilinear resampling with the border clamped; the crop is not rounded to whole cells.

    Args:
        features: (B, C, h, w).
        windows: (B or 1, 4).
        grids: The (row, column) grids.

    Returns:
        (B, C, h, w).
    """
    rows, columns = (
        interpolation_matrices(positions_in_context(axis, grid), grid.cells)
        for axis, grid in zip((windows[:, 0::2], windows[:, 1::2]), grids, strict=True)
    )
    return resample(features, rows, columns)
