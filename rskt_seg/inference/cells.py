"""Blending of windows of a scene on a grid of cells that is anchored to its upper left corner.

Every window that touches a cell counts, in row-major order, whatever part of the scene is computed at a time:
a pixel has the same score to the last bit in every part that contains it.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.windows import Window, window_starts

TAPERS = ("hann", "mean")
"""How windows are weighted: by a raised cosine in both directions, or all cells equally as published."""
MOST_OVERLAP = 0.75
_STEPS = 1024
"""Weights are whole numbers up to this one, squared. The border of a window, where a model sees least, counts
a thousandth of the middle of its neighbour."""


@dataclass(frozen=True)
class WindowPlan:
    """How windows cover a scene.

    Attributes:
        height: Rows of the scene, px.
        width: Columns of the scene, px.
        side: Side (px) of a window, a multiple of `cell`; a shorter scene has windows of its own length.
        stride: Pixels from one window to the next, a multiple of `cell`, at most `side`.
        cell: Side (px) of a cell, the resolution at which windows are blended.
        margin: Pixels around a window that the model sees as well.
        taper: One of `TAPERS`.
    """

    height: int
    width: int
    side: int
    stride: int
    cell: int = 1
    margin: int = 0
    taper: str = "hann"

    @property
    def rows(self) -> int:
        """Rows of cells; the last may hang over the scene."""
        return -(-self.height // self.cell)

    @property
    def columns(self) -> int:
        """Columns of cells."""
        return -(-self.width // self.cell)

    @property
    def cells(self) -> Window:
        """All cells."""
        return Window(0, 0, self.rows, self.columns)

    @property
    def window_cells(self) -> tuple[int, int]:
        """Rows and columns of cells of each window."""
        return min(self.side // self.cell, self.rows), min(self.side // self.cell, self.columns)

    @property
    def reach(self) -> int:
        """Cells beside its own that a pixel is interpolated from; none where a cell is a pixel."""
        return int(self.cell > 1)

    @cached_property
    def weights(self) -> Tensor:
        """Weights of the cells of a window, float32 whole numbers of at least 1."""
        rows, columns = (taper(length, self.taper) for length in self.window_cells)
        return rows[:, None] * columns

    def held_rows(self, strip: int) -> int:
        """Return how many rows of cells suffice where strips of pixels are finished before the next windows.

        Args:
            strip: Rows (px) of a strip.
        """
        return self.window_cells[0] + -(-strip // self.cell) + 4  # with neighbours, between which pixels lie

    def windows(self, area: Window) -> tuple[Window, ...]:
        """Return the windows that touch an area, row by row.

        Args:
            area: In cells.

        Returns:
            The windows, in cells.
        """
        height, width = self.window_cells
        step = self.stride // self.cell
        tops = [
            top
            for top in window_starts(self.rows, height, min(step, height))
            if _meets(top, height, area.rows)
        ]
        lefts = [
            left
            for left in window_starts(self.columns, width, min(step, width))
            if _meets(left, width, area.columns)
        ]
        return tuple(Window(top, left, height, width) for top in tops for left in lefts)

    def pixels(self, cells: Window) -> Window:
        """Return the pixels of some cells, which may hang over the scene by less than a cell."""
        return Window(*(value * self.cell for value in cells))

    def repeated_share(self, side: int) -> float:
        """Return how many windows of an endless scene are computed more than once, as a share of all.

        Args:
            side: That (px) of the chunks that it is cut into, each with all windows that touch it.
        """
        step, cells = self.stride // self.cell, self.side // self.cell
        chunks = step * self.cell // math.gcd(step * self.cell, side)  # then they lie as the first does
        count = 0
        for number in range(chunks):
            top = number * side // self.cell - self.reach
            bottom = -(-(number + 1) * side // self.cell) + self.reach
            count += -(-bottom // step) - ((top - cells) // step + 1)
        return (count * self.stride / (chunks * side)) ** 2 - 1


def _meets(start: int, length: int, part: slice) -> bool:
    return start < part.stop and start + length > part.start


def plan_windows(
    size: tuple[int, int],
    side: int,
    overlap: float,
    *,
    cell: int = 1,
    margin: int = 0,
    taper: str = "hann",
) -> WindowPlan:
    """Plan the windows of a scene.

    Args:
        size: (H, W) of the scene, px.
        side: Side (px) of a window, at most the longer one of the scene; rounded down to whole cells.
        overlap: Share of a window that the next one covers again, 0..0.75; rounded to whole cells.
        cell: As in `WindowPlan`.
        margin: As in `WindowPlan`.
        taper: As in `WindowPlan`.

    Returns:
        The plan.

    Raises:
        ConfigError: A value is out of its range.
    """
    if taper not in TAPERS:
        raise ConfigError(f"windows are blended by one of {', '.join(TAPERS)}; found {taper!r}")
    if not 0 <= overlap <= MOST_OVERLAP:
        raise ConfigError(f"windows overlap by 0..{MOST_OVERLAP} of their side; found {overlap:g}")
    if side < cell:
        raise ConfigError(f"a window needs at least {cell} px, a cell of the model's output; found {side}")
    cells = side // cell
    stride = max(1, round(cells * (1 - overlap)))
    return WindowPlan(*size, cells * cell, stride * cell, cell, margin, taper)


def taper(length: int, kind: str) -> Tensor:
    """Return the weights of a window along one axis.

    Args:
        length: Cells of the window.
        kind: One of `TAPERS`.

    Returns:
        (length,) float32, whole numbers in 1..1024.
    """
    if kind == "mean":
        return torch.ones(length)
    phase = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    return (_STEPS * torch.sin(torch.pi * phase) ** 2).round().clamp(min=1).float()


class RunningMeans:
    """Weighted means of the maps of windows over an area of cells, of which some rows are held at a time.

    Each window moves the means towards itself by its share of the weights so far: where all windows agree,
    the mean is what they agree on, to the last bit.

    Args:
        plan: How windows cover the scene.
        channels: Number of maps.
        area: In cells.
        rows: Rows that are held; None: all. See `forget`.
    """

    def __init__(self, plan: WindowPlan, channels: int, area: Window, rows: int | None = None) -> None:
        self._plan, self._area = plan, area
        self._first = area.top  # the first row that is held
        held = area.height if rows is None else min(rows, area.height)
        self._means = torch.zeros(channels, held, area.width)
        self._weights = torch.zeros(held, area.width)

    def add(self, window: Window, maps: Tensor) -> None:
        """Add a window.

        Args:
            window: In cells; its part inside the area, and not above the rows that are held, counts.
            maps: (channels, height, width) of the window, float32 on the CPU.
        """
        top, left = max(window.top, self._first), max(window.left, self._area.left)
        bottom, right = min(window.bottom, self._area.bottom), min(window.right, self._area.right)
        if bottom <= top:
            return
        seen = slice(top - window.top, bottom - window.top), slice(left - window.left, right - window.left)
        here = (
            slice(top - self._first, bottom - self._first),
            slice(left - self._area.left, right - self._area.left),
        )
        weights, means = self._plan.weights[seen], self._means[:, *here]
        self._weights[here] += weights
        # In three steps: a fused one is rounded otherwise at the end of a vector, which parts have elsewhere.
        means += (maps[:, *seen] - means).mul_(weights / self._weights[here])

    @property
    def channels(self) -> int:
        """Number of maps."""
        return len(self._means)

    def forget(self, row: int) -> None:
        """Make room below: rows of cells above `row` are not asked for any more."""
        count, held = row - self._first, len(self._weights)
        if count <= 0:
            return
        for kept in (*self._means, self._weights):
            kept[: max(held - count, 0)] = kept[count:].clone()
            kept[max(held - count, 0) :] = 0
        self._first = row

    def mean(self, bottom: int | None = None) -> "CellMeans":
        """Return the means of the rows that are held. Cells that no window covers are 0.

        Args:
            bottom: The first row of cells to which windows may be added afterwards; None: none are.
        """
        bottom = self._area.bottom if bottom is None else bottom
        held = Window(self._first, self._area.left, bottom - self._first, self._area.width)
        return CellMeans(self._plan, held, self._means[:, : held.height])


@dataclass(frozen=True)
class CellMeans:
    """Means of windows over an area of cells, which are resized to pixels where they are asked for.

    Attributes:
        plan: How windows cover the scene.
        area: In cells.
        maps: (channels, height, width) float32.
    """

    plan: WindowPlan
    area: Window
    maps: Tensor

    def pixels(self, window: Window) -> Tensor:
        """Resize the maps bilinearly (align_corners False) to some pixels.

        Args:
            window: Pixels of the scene, of which the cells and those in reach are in the area, or outside of
                the scene.

        Returns:
            (channels, height, width) float32.
        """
        left, right, before, after = self._taps(window.columns, self.area.left, self.plan.columns)
        top, bottom, up, down = self._taps(window.rows, self.area.top, self.plan.rows)
        first, last = int(top[0]), int(bottom[-1])
        source = self.maps[:, first : last + 1]
        # Across before down: many rows lie between the same two of the source.
        lines = source.index_select(2, left).mul_(before).add_(source.index_select(2, right).mul_(after))
        above = lines.index_select(1, top - first).mul_(up[:, None])
        return above.add_(lines.index_select(1, bottom - first).mul_(down[:, None]))

    def _taps(self, pixels: slice, origin: int, cells: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return for each pixel the two cells of the area that it lies between, and their weights."""
        position, cell = torch.arange(pixels.start, pixels.stop), self.plan.cell
        # By the place in a cell, not in the scene, whose distance would change the rounding.
        phases = (torch.arange(cell, dtype=torch.float64) + 0.5) / cell - 0.5
        offset = phases[position % cell]
        first = position // cell - (offset < 0).long()
        share = (offset + (offset < 0).double()).float()
        second = (first + self.plan.reach).clamp_(max=cells - 1)
        first.clamp_(min=0)
        return first - origin, second - origin, 1 - share, share
