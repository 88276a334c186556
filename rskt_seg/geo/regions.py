"""Connected areas of equal class of a map that is seen some rows at a time.

Pixels are connected by their sides. An area is open while it may have pixels in rows to come; what is kept in
memory are the open areas, and where small ones are sieved those that wait for a decision.

Not `rasterio.features.shapes`: it needs the whole map for polygons without seams, and merging the polygons of
its parts would not give the pixels, areas and borders of each.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from rskt_seg.geo.rings import Corners
from rskt_seg.geo.sieve import UNDECIDED, Borders, connected, decide


@dataclass(frozen=True)
class Regions:
    """Areas of a map, with what is known of their pixels.

    Attributes:
        classes: (N,) class of each.
        pixels: (N,) number of pixels.
        metres: (N,) square metres.
        scores: (N,) sum of the scores of their pixels.
        scored: (N,) number of pixels that have a score.
        first: (N,) first pixel in the order of rows: row times columns of the map plus column.
    """

    classes: np.ndarray
    pixels: np.ndarray
    metres: np.ndarray
    scores: np.ndarray
    scored: np.ndarray
    first: np.ndarray

    @classmethod
    def none(cls) -> "Regions":
        """Return no areas."""
        return cls(*(np.zeros(0, kind) for kind in (np.intp, np.int64, float, float, np.int64, np.int64)))

    def renumbered(self, numbers: np.ndarray, count: int) -> "Regions":
        """Return other areas, each of which is made of some of these.

        Args:
            numbers: (N,) the new number of each area; -1 for those that are given up.
            count: How many there will be.

        Returns:
            The areas; the class of each is that of one of its parts.
        """
        kept = self.where(numbers >= 0)
        numbers = numbers[numbers >= 0]
        classes, first = np.zeros(count, np.intp), np.full(count, np.iinfo(np.int64).max)
        classes[numbers] = kept.classes
        np.minimum.at(first, numbers, kept.first)
        pixels, metres, scores, scored = (
            np.bincount(numbers, each, minlength=count).astype(each.dtype)
            for each in (kept.pixels, kept.metres, kept.scores, kept.scored)
        )
        return Regions(classes, pixels, metres, scores, scored, first)

    def where(self, kept: np.ndarray) -> "Regions":
        """Return some of the areas: `kept` is (N,) bool, or indices."""
        return Regions(*(each[kept] for each in vars(self).values()))


class RegionStream:
    """Finds the connected areas of a map, some rows at a time.

    Args:
        width: Columns of the map.
        classes: Number of classes T; pixels of class T have no data and belong to no area.
        minimum: Pixels, or square metres, below which an area is given to its neighbours (see
            `rskt_seg.geo.sieve.decide`); 0 for none.
        in_metres: Whether `minimum` is in square metres.
        skipped: Classes whose areas are not wanted.
        with_junctions: Whether `junctions` are wanted.

    Attributes:
        junctions: Arrays (N, 2) of crossings, row and column, at which three or four areas or the outside
            meet.
        small: How many of the returned areas are below `minimum` all the same: no neighbour was large enough.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        *,
        minimum: float = 0,
        in_metres: bool = False,
        skipped: Collection[int] = (),
        with_junctions: bool = False,
    ) -> None:
        self.junctions: list[np.ndarray] = []
        self.small = 0
        self._width, self._none, self._with_junctions = width, classes, with_junctions
        self._minimum, self._in_metres = minimum, in_metres
        self._skipped = np.isin(np.arange(classes), list(skipped))
        self._row = 0
        self._above = np.full(width, -1, np.int64)
        self._above_classes = np.full(width, classes, np.intp)
        self._regions, self._final, self._borders = Regions.none(), np.zeros(0, np.intp), Borders.none()
        self._kept: dict[int, list[Corners]] = {}
        self._given_up = 0

    def add(
        self, rows: np.ndarray, metres: np.ndarray | None = None, scores: np.ndarray | None = None
    ) -> tuple[Regions, list[Corners]]:
        """Add the next rows.

        Args:
            rows: (h, W) classes.
            metres: (h, W) area of each pixel; None if unknown, which counts as 0.
            scores: (h, W) score of each pixel, NaN where there is none; None without.

        Returns:
            The areas that are complete now, in the order of their first pixels, and their corners, in one or
            more parts. Their numbers, by which corners name them, follow those of the areas before.
        """
        regions = self._label(rows)
        self._count(regions, metres, scores)
        around = np.concatenate([self._above[None], regions])
        corners = self._find_corners(around)
        if self._minimum:
            self._find_borders(around)
        self._row += len(rows)
        self._above, self._above_classes = regions[-1], rows[-1]
        return self._release(corners)

    def finish(self) -> tuple[Regions, list[Corners]]:
        """Return the areas that are complete because there are no more rows, as `add`."""
        outside = np.full(self._width, -1)
        corners = self._find_corners(np.stack([self._above, outside]))
        self._above = outside
        return self._release(corners)

    def _label(self, rows: np.ndarray) -> np.ndarray:
        """Number the areas of rows (h, W), and anew those that are kept; -1 is no area."""
        starts = np.ones(rows.shape, bool)
        np.not_equal(rows[:, 1:], rows[:, :-1], out=starts[:, 1:])
        run = (np.cumsum(starts) - 1).reshape(rows.shape)
        runs = int(run[-1, -1]) + 1
        # Runs of two rows that overlap do so from where one of them begins.
        touch = (rows[1:] == rows[:-1]) & (starts[1:] | starts[:-1])
        top = (rows[0] == self._above_classes) & (self._above >= 0)
        first, second = (
            np.append(run[1:][touch], run[0][top]),
            np.append(run[:-1][touch], self._above[top] + runs),
        )
        group = connected(runs + len(self._final), first, second)
        wanted = np.zeros(group.max() + 1, bool)
        wanted[group[:runs]] = rows[starts] != self._none
        wanted[group[runs:]] = True
        numbers = np.where(wanted, np.cumsum(wanted) - 1, -1)[group]
        self._renumber(numbers[runs:], int(wanted.sum()))
        inside = numbers[:runs] >= 0
        self._regions.classes[numbers[:runs][inside]] = rows[starts][inside]
        positions = np.flatnonzero(starts)[inside] + self._row * self._width
        np.minimum.at(self._regions.first, numbers[:runs][inside], positions)
        return numbers[:runs][run]

    def _count(self, regions: np.ndarray, metres: np.ndarray | None, scores: np.ndarray | None) -> None:
        """Add pixels (h, W) to their areas."""
        numbers, count = regions.ravel() + 1, len(self._final) + 1
        self._regions.pixels[:] += np.bincount(numbers, minlength=count)[1:]
        if metres is not None:
            self._regions.metres[:] += np.bincount(numbers, metres.ravel(), count)[1:]
        if scores is not None:
            scored = ~np.isnan(scores.ravel())
            self._regions.scores[:] += np.bincount(numbers[scored], scores.ravel()[scored], count)[1:]
            self._regions.scored[:] += np.bincount(numbers[scored], minlength=count)[1:]

    def _find_corners(self, around: np.ndarray) -> Corners:
        """Find the corners of areas (1 + h, W) at the crossings above the last h rows."""
        padded = np.pad(around, ((0, 0), (1, 1)), constant_values=-1)
        upper, lower = padded[:-1], padded[1:]
        along = (upper[:, :-1] == upper[:, 1:]) & (lower[:, :-1] == lower[:, 1:])
        across = (upper == lower)[:, :-1] & (upper == lower)[:, 1:]
        y, x = np.nonzero(~(along | across))
        quarters = np.stack([upper[y, x], upper[y, x + 1], lower[y, x], lower[y, x + 1]])
        y, x = (y + self._row).astype(np.int32), x.astype(np.int32)
        if self._with_junctions:
            met = (np.diff(np.sort(quarters, axis=0), axis=0) != 0).sum(axis=0) > 1
            self.junctions.append(np.stack([y[met], x[met]], axis=1))
        # Neighbours of one area cancel each other; of three, that beside one across is left.
        beside = quarters[::2] == quarters[1::2]
        over = (quarters[:2] == quarters[2:]) & ~beside.any(axis=0)
        left = ~np.repeat(beside, 2, axis=0) & ~np.tile(over, (2, 1)) & (quarters >= 0)
        turn = np.repeat(np.array([1, -1, -1, 1], np.int8), left.sum(axis=1))
        crossing = np.nonzero(left)[1]
        return Corners(self._row, quarters[left], y[crossing], x[crossing], turn)

    def _find_borders(self, around: np.ndarray) -> None:
        """Add the borders of areas (1 + h, W) that may be too small, but for those along the first row."""
        large = (self._final == UNDECIDED) & (self._sizes(self._regions) >= self._minimum)
        self._final = np.where(large, self._regions.classes, self._final)
        for one, other in ((around[:-1], around[1:]), (around[1:, :-1], around[1:, 1:])):
            apart = (one != other) & (one >= 0) & (other >= 0)
            first, second = one[apart], other[apart]
            matter = (self._final[first] == UNDECIDED) | (self._final[second] == UNDECIDED)
            new = Borders(first[matter], second[matter], np.ones(int(matter.sum()), np.int64))
            self._borders = self._borders.joined(new)
        self._borders = self._borders.renumbered(np.arange(len(self._final)))

    def _release(self, corners: Corners) -> tuple[Regions, list[Corners]]:
        """Give up the areas that are complete, and return them with their corners."""
        if self._minimum:
            corners = self._sieve(corners)
        else:
            self._final = self._regions.classes
        decided = self._final != UNDECIDED
        complete = decided & ~self._is_open()
        complete[np.append(self._borders.first, self._borders.second)] = False
        unwanted = decided & self._skipped[np.maximum(self._final, 0)]
        corners = corners.where(~unwanted[corners.region])
        leaving = np.flatnonzero(complete & ~unwanted)
        leaving = leaving[np.argsort(self._regions.first[leaving])]
        numbers = np.full(len(complete), -1)
        numbers[leaving] = np.arange(len(leaving)) + self._given_up
        self._given_up += len(leaving)
        found = self._regions.where(leaving)
        self.small += int((self._sizes(found) < self._minimum).sum())
        taken = self._take_corners(corners, numbers)
        for region in [each for each in self._kept if unwanted[each]]:
            del self._kept[region]
        self._keep_corners(corners.where(~complete[corners.region]))
        self._renumber(np.where(complete, -1, np.cumsum(~complete) - 1), int((~complete).sum()))
        return found, taken

    def _sieve(self, corners: Corners) -> Corners:
        """Join the areas that are too small, as far as that is decided, to those whose class they get."""
        self._final = decide(self._final, self._regions.classes, self._is_open(), self._borders)
        ends = self._final[self._borders.first], self._final[self._borders.second]
        same = (ends[0] == ends[1]) & (ends[0] != UNDECIDED)
        group = connected(len(self._final), self._borders.first[same], self._borders.second[same])
        self._renumber(group, int(group.max(initial=-1)) + 1)
        decided = self._final != UNDECIDED
        self._regions.classes[decided] = self._final[decided]
        waiting = ~decided[self._borders.first] | ~decided[self._borders.second]
        self._borders = self._borders.where(waiting)
        return replace(corners, region=group[corners.region])

    def _sizes(self, regions: Regions) -> np.ndarray:
        """Return what `minimum` is compared with."""
        return regions.metres if self._in_metres else regions.pixels

    def _is_open(self) -> np.ndarray:
        """Return (N,) bool: whether an area has pixels in the last row."""
        return np.bincount(self._above + 1, minlength=len(self._final) + 1)[1:] > 0

    def _take_corners(self, corners: Corners, numbers: np.ndarray) -> list[Corners]:
        """Return the corners of areas that leave, with their numbers (N,) of those, -1 for all others."""
        here = corners.where(numbers[corners.region] >= 0)
        taken = [replace(here, region=numbers[here.region])]
        for region in [each for each in self._kept if numbers[each] >= 0]:
            taken += [part.of(int(numbers[region])) for part in self._kept.pop(region)]
        return taken

    def _keep_corners(self, corners: Corners) -> None:
        order = np.argsort(corners.region, kind="stable")
        regions, starts = np.unique(corners.region[order], return_index=True)
        for region, part in zip(regions.tolist(), np.split(order, starts[1:]), strict=False):
            self._kept.setdefault(region, []).append(corners.where(part).of(region))

    def _renumber(self, numbers: np.ndarray, count: int) -> None:
        """Give areas other numbers (N,); those with the same become one, and those with -1 are given up."""
        self._regions = self._regions.renumbered(numbers, count)
        final = np.full(count, UNDECIDED)
        np.maximum.at(final, numbers[numbers >= 0], self._final[numbers >= 0])
        self._final, self._borders = final, self._borders.renumbered(numbers)
        self._above = np.append(numbers, -1)[self._above]
        kept: dict[int, list[Corners]] = {}
        for region, parts in self._kept.items():
            kept.setdefault(int(numbers[region]), []).extend(parts)
        self._kept = kept
