"""The affinity loss of AFA (Ru et al. 2022): tokens of one label belong together, of two labels apart."""

import torch
from torch import Tensor

_IGNORED = 255


def affinity_target(labels: Tensor, grid: tuple[int, int], radius: int, ignore_value: int = 255) -> Tensor:
    """Which pairs of tokens have the same label, within a window.

    A token has the label of its upper left pixel, (floor(i * H / h), floor(j * W / w)). A pair counts when
    both tokens are labelled and at most `radius` rows and `radius` columns of the grid apart.

    Args: labels (B, H, W) int64; grid (h, w), L = h * w tokens in row-major order. Returns (B, L, L) uint8:
    1 same label (every labelled token with itself included), 0 different, 255 does not count.
    """
    rows, columns = (
        torch.arange(cells, device=labels.device) * side // cells
        for cells, side in zip(grid, labels.shape[1:], strict=True)
    )
    tokens = labels[:, rows][:, :, columns].flatten(1)
    same = (tokens[:, :, None] == tokens[:, None, :]).to(torch.uint8)
    labelled = tokens != ignore_value
    counted = labelled[:, :, None] & labelled[:, None, :] & _near(grid, radius, labels.device)
    return same.where(counted, _IGNORED)


def _near(grid: tuple[int, int], radius: int, device: torch.device) -> Tensor:
    """(L, L) bool: at most `radius` rows and columns apart."""
    rows, columns = (torch.arange(cells, device=device) for cells in grid)
    near_rows, near_columns = ((axis[:, None] - axis).abs() <= radius for axis in (rows, columns))
    return (near_rows[:, None, :, None] & near_columns[None, :, None, :]).flatten(2).flatten(0, 1)


def affinity_loss(affinity: Tensor, target: Tensor) -> Tensor:
    """Half the mean of 1 - A over pairs of one label plus half the mean of A over pairs of two labels.

    Each mean is over the whole batch and divides by one pair more than there are, as in the ancestors of the
    method; a kind without pairs gives 0, with a gradient of 0.

    Args: affinity (B, L, L) float in 0..1; target (B, L, L) of `affinity_target`. Returns a scalar, computed
    in at least single precision.
    """
    affinity = affinity.to(torch.promote_types(affinity.dtype, torch.float32))
    same, different = target == 1, target == 0
    apart = ((1 - affinity) * same).sum() / (same.sum() + 1)
    together = (affinity * different).sum() / (different.sum() + 1)
    return (apart + together) / 2
