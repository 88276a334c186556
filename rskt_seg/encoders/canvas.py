"""Maps of a padded canvas whose middle alone an image reaches.

Far from an image, and from the edges of the canvas, convolutions of zeros give the same values everywhere.
So the map of a small blank canvas tells that of a large one, and only the part that the image reaches has to
be computed. Shapes: B image, C channel, h w cell.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Span(NamedTuple):
    """Cells `start`..`stop` of one axis, the end excluded."""

    start: int
    stop: int

    def grown(self, cells: int) -> "Span":
        """Return the span with `cells` more at each end."""
        return Span(self.start - cells, self.stop + cells)

    def aligned(self) -> "Span":
        """Return the least span around this one that begins and ends at even cells."""
        return Span(self.start // 2 * 2, -(-self.stop // 2) * 2)

    def halved(self) -> "Span":
        """Return the cells that a pooling of 2 x 2 makes of an aligned span."""
        return Span(self.start // 2, self.stop // 2)

    def within(self, other: "Span") -> slice:
        """Return where this span lies in another one."""
        return slice(self.start - other.start, self.stop - other.start)


class Part(NamedTuple):
    """The cells of a map that differ from those of a blank canvas.

    Attributes:
        values: (B, C, h, w).
        rows: The h rows.
        columns: The w columns.
    """

    values: Tensor
    rows: Span
    columns: Span


def image_part(images: Tensor, margin: int) -> Part:
    """Return what a canvas has of images: without their black margins, where these are known.

    Args:
        images: (B, 3, H, W), 0 where they are black. On an accelerator nothing is cut off, as looking at the
            values would wait for it.
        margin: Cells of the canvas before an image.

    Returns:
        The part; a cell of it at least.
    """
    spans = [Span(0, side) for side in images.shape[2:]]
    if images.device.type == "cpu":
        seen = images.ne(0).flatten(0, 1).any(dim=0)
        spans = [_extent(seen.any(dim=axis)) for axis in (1, 0)]
    rows, columns = spans
    cut = images[:, :, rows.start : rows.stop, columns.start : columns.stop]
    return Part(cut, *(Span(span.start + margin, span.stop + margin) for span in spans))


def _extent(seen: Tensor) -> Span:
    """Return the span from the first to the last true cell of (n,); the first cell if there is none."""
    cells = seen.nonzero()
    return Span(int(cells[0]), int(cells[-1]) + 1) if len(cells) else Span(0, 1)


def framed(part: Part, blank: Tensor, size: tuple[int, int], rows: Span, columns: Span) -> Tensor:
    """Return a window of a map whose cells outside of a part are those of a blank canvas.

    Args:
        part: What differs from the blank canvas.
        blank: Map (1, C, n, m) of a small blank canvas: its middle cell is out of reach of the edges, and its
            sides differ from `size` by multiples of what is pooled to a cell, so that both end alike.
        size: (H, W) of the map.
        rows: Rows of the window, which hold those of the part.
        columns: Columns of the window, likewise.

    Returns:
        (B, C, rows, columns), channels last in memory.
    """
    down, across = (
        _cells_of_blank(span, side, small).to(blank.device)
        for span, side, small in zip((rows, columns), size, blank.shape[2:], strict=True)
    )
    around = blank.index_select(2, down).index_select(3, across)
    shape = (len(part.values), *around.shape[1:])
    window = around.new_empty(shape).to(memory_format=torch.channels_last).copy_(around)
    window[:, :, part.rows.within(rows), part.columns.within(columns)] = part.values
    return window


def _cells_of_blank(span: Span, side: int, small: int) -> Tensor:
    """Return for each cell of an axis of `side` cells the equal one among `small`, int64."""
    cells, middle = torch.arange(*span), small // 2
    return (cells - (side - small)).maximum(cells.clamp(max=middle))
