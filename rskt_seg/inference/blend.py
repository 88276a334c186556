"""Blending of overlapping windows: every pixel gets the sum or the mean of the scores that cover it."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from rskt_seg.windows import Window


def sum_bands(tiles: Iterable[tuple[Window, Tensor]], width: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the sum of all tiles in bands of finished rows, from top to bottom.

    A band is yielded as soon as no later window can reach it: memory is that of one row of windows, whatever
    the height of the image.

    Args:
        tiles: Pairs (window, scores (T, height, width) of that window), row by row as `window_grid` orders
            them, all windows of one height.
        width: Width (px) of the image.

    Yields:
        Pairs (first row, scores (T, rows, width)).

    Raises:
        ValueError: If windows go back up or leave rows uncovered.
    """
    top = 0
    total: Tensor | None = None
    for window, scores in tiles:
        if total is None:
            total = scores.new_zeros(scores.shape[0], window.height, width)
        done = window.top - top
        if not 0 <= done <= window.height:
            raise ValueError(f"windows must come row by row without gaps; row {window.top} follows row {top}")
        if done:
            yield top, total[:, :done]
            # A copy, not a move in place: the band just yielded may still be in use.
            total = torch.cat([total[:, done:], torch.zeros_like(total[:, :done])], dim=1)
            top = window.top
        total[:, :, window.columns] += scores
    if total is not None:
        yield top, total


def blend_bands(tiles: Iterable[tuple[Window, Tensor]], width: int) -> Iterator[tuple[int, Tensor]]:
    """Average the tiles over each pixel, in bands of finished rows: see `sum_bands`.

    Args:
        tiles: Pairs (window, scores (T, height, width) of it), row by row.
        width: Width (px) of the image.

    Yields:
        Pairs (first row, mean scores (T, rows, width)).

    Raises:
        ValueError: As `sum_bands`, and if pixels stay uncovered.
    """
    # A channel of ones, whose sum counts the tiles over a pixel.
    counted = ((window, torch.cat([scores, torch.ones_like(scores[:1])])) for window, scores in tiles)
    for top, band in sum_bands(counted, width):
        total, count = band[:-1], band[-1:]
        if not bool((count > 0).all().cpu()):
            raise ValueError("the windows leave pixels uncovered")
        yield top, total / count


def blend(tiles: Iterable[tuple[Window, Tensor]], width: int) -> Tensor:
    """Average the tiles over each pixel.

    Args:
        tiles: Pairs (window, scores (T, height, width) of it), row by row.
        width: Width (px) of the image.

    Returns:
        All bands of `blend_bands` as one map (T, H, width).

    Raises:
        ValueError: As `blend_bands`.
    """
    return torch.cat([band for _, band in blend_bands(tiles, width)], dim=1)
