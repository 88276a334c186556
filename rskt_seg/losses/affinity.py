"""The affinity loss of AFA (Ru et al. 2022), on pairs of tokens of one label and of two labels.

Shapes: B image, H W pixel, h w grid of tokens, L = h * w token in row-major order.
"""

import torch
from torch import Tensor

from rskt_seg.losses.processes import batch_sums

_IGNORED = 255


def affinity_target(labels: Tensor, grid: tuple[int, int], radius: int, ignore_value: int = 255) -> Tensor:
    """Mark every pair of tokens by whether their labels are the same.

    A token has the label of its upper left pixel, (floor(i * H / h), floor(j * W / w)). A pair counts if both
    tokens are labelled and at most `radius` rows and `radius` columns of the grid apart.

    Args:
        labels: Class ids (B, H, W) int64.
        grid: (h, w) of the tokens.
        radius: Largest distance of a pair in cells along either axis.
        ignore_value: Id of unlabelled pixels.

    Returns:
        (B, L, L) uint8: 1 for the same label (also of a labelled token with itself), 0 for different labels,
        255 for pairs that do not count.
    """
    rows, columns = (
        torch.arange(cells, device=labels.device) * side // cells
        for cells, side in zip(grid, labels.shape[1:], strict=True)
    )
    # Pairs at most `radius` rows and columns apart, (L, L).
    near_rows, near_columns = (
        (axis[:, None] - axis).abs() <= radius
        for axis in (torch.arange(cells, device=labels.device) for cells in grid)
    )
    near = (near_rows[:, None, :, None] & near_columns[None, :, None, :]).flatten(2).flatten(0, 1)
    tokens = labels[:, rows][:, :, columns].flatten(1)  # (B, L)
    same = (tokens[:, :, None] == tokens[:, None, :]).to(torch.uint8)
    labelled = tokens != ignore_value
    counted = labelled[:, :, None] & labelled[:, None, :] & near
    return same.where(counted, _IGNORED)


def affinity_loss(affinity: Tensor, target: Tensor) -> Tensor:
    """Average 1 - A over pairs of one label and A over pairs of two labels, and take the mean of both.

    Each average is over the batch of all processes and divides by one pair more than there are, as in the
    code that the method builds on. A kind without pairs gives 0, with a gradient of 0.

    Args:
        affinity: A (B, L, L), float in 0..1.
        target: (B, L, L) uint8, see `affinity_target`.

    Returns:
        Scalar, computed in at least single precision.
    """
    affinity = affinity.to(torch.promote_types(affinity.dtype, torch.float32))
    same, different = target == 1, target == 0
    apart, pairs_of_one, together, pairs_of_two = batch_sums(
        ((1 - affinity) * same).sum(), same.sum(), (affinity * different).sum(), different.sum()
    )
    return (apart / (pairs_of_one + 1) + together / (pairs_of_two + 1)) / 2
