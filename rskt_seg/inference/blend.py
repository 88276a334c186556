"""Joins the score maps of overlapping windows: every pixel is the mean of the windows that hold it."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from rskt_seg.inference.windows import Window


def blend_bands(tiles: Iterable[tuple[Window, Tensor]], width: int) -> Iterator[tuple[int, Tensor]]:
    """Bands of finished rows, from top to bottom: pairs (first row, mean scores (T, rows, width)).

    `tiles` yields (window, scores (T, height, width) of that window) row by row, as `window_grid`
    orders them. Memory is that of one row of windows, whatever the height of the image: a band leaves
    as soon as no later window can reach it. Raises `ValueError` when windows go back up or leave a
    pixel uncovered.
    """
    top, total, count = 0, None, None
    for window, scores in tiles:
        if total is None:
            total = scores.new_zeros(scores.shape[0], scores.shape[1], width)
            count = scores.new_zeros(1, scores.shape[1], width)
        if window.top < top:
            raise ValueError(f"windows must come row by row; row {window.top} follows row {top}")
        if window.top > top:
            done = window.top - top
            if done > total.shape[1]:
                raise ValueError(f"the windows leave rows {top + total.shape[1]} to {window.top} uncovered")
            yield top, _mean(total[:, :done], count[:, :done])
            total, count = _scrolled(total, done), _scrolled(count, done)
            top = window.top
        total[:, : window.height, window.columns] += scores
        count[:, : window.height, window.columns] += 1
    if total is not None:
        yield top, _mean(total, count)


def blend(tiles: Iterable[tuple[Window, Tensor]], width: int) -> Tensor:
    """The whole map (T, H, width) of `blend_bands` at once."""
    return torch.cat([band for _, band in blend_bands(tiles, width)], dim=1)


def _scrolled(rows: Tensor, done: int) -> Tensor:
    # A copy, not a move in place: the band handed out may still be in use.
    return torch.cat([rows[:, done:], torch.zeros_like(rows[:, :done])], dim=1)


def _mean(total: Tensor, count: Tensor) -> Tensor:
    if bool((count == 0).any()):
        raise ValueError("the windows leave pixels uncovered")
    return total / count


def sum_bands(tiles: Iterable[tuple[Window, Tensor]], width: int) -> Iterator[tuple[int, Tensor]]:
    """Bands of finished rows of the sum of all tiles: pairs (first row, (T, rows, width)).

    For methods that add up what overlapping windows say (FCtL adds logits). `tiles` yields (window, scores
    of that window) row by row, all windows of one height; memory is that of one row of windows. Raises
    `ValueError` when windows go back up or leave rows uncovered.
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
