"""Joins the score maps of overlapping windows: every pixel gets the sum or the mean of those that hold it."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from rskt_seg.windows import Window


def sum_bands(tiles: Iterable[tuple[Window, Tensor]], width: int) -> Iterator[tuple[int, Tensor]]:
    """Bands of finished rows of the sum of all tiles, downwards: pairs (first row, scores (T, rows, width)).

    `tiles` yields (window, scores (T, height, width) of that window) row by row, as `window_grid` orders
    them, all windows of one height. Memory is that of one row of windows, whatever the height of the image: a
    band leaves as soon as no later window can reach it. Raises `ValueError` when windows go back up or leave
    rows uncovered.
    """
    top, total = 0, None
    for window, scores in tiles:
        if total is None:
            total = scores.new_zeros(scores.shape[0], window.height, width)
        done = window.top - top
        if not 0 <= done <= window.height:
            raise ValueError(f"windows must come row by row without gaps; row {window.top} follows row {top}")
        if done:
            yield top, total[:, :done]
            total, top = _scrolled(total, done), window.top
        total[:, :, window.columns] += scores
    if total is not None:
        yield top, total


def blend_bands(tiles: Iterable[tuple[Window, Tensor]], width: int) -> Iterator[tuple[int, Tensor]]:
    """Bands of the mean over the tiles that hold a pixel: as `sum_bands`.

    Raises `ValueError` also where pixels stay uncovered.
    """
    for top, band in sum_bands(_counted(tiles), width):
        total, count = band[:-1], band[-1:]
        if bool((count == 0).any()):
            raise ValueError("the windows leave pixels uncovered")
        yield top, total / count


def blend(tiles: Iterable[tuple[Window, Tensor]], width: int) -> Tensor:
    """The whole map (T, H, width) of `blend_bands` at once."""
    return torch.cat([band for _, band in blend_bands(tiles, width)], dim=1)


def _counted(tiles: Iterable[tuple[Window, Tensor]]) -> Iterator[tuple[Window, Tensor]]:
    """The tiles with a channel of ones, whose sum counts the tiles over a pixel."""
    for window, scores in tiles:
        yield window, torch.cat([scores, torch.ones_like(scores[:1])])


def _scrolled(rows: Tensor, done: int) -> Tensor:
    # A copy, not a move in place: the band handed out may still be in use.
    return torch.cat([rows[:, done:], torch.zeros_like(rows[:, :done])], dim=1)
