"""Fill that a raster does not declare as nodata, such as the black around a rotated orthophoto."""

import math

import numpy as np

from rskt_seg.geo.areas import BorderAreas

_LARGE = 0.02
"""Share of the pixels from which on a fill at an end of the range is told."""
_VERY_LARGE = 0.1
"""Share from which on one value of all bands is told wherever it lies in the range."""
_SAMPLED = 2**14
"""Number of pixels on which a candidate is tried first."""
_PIXELS = 2**20
"""Pixels that are looked at at a time."""


class FillSearch:
    """Search for a large area at the border that has one value.

    Such a fill spoils the percentiles of a stretch, and is classified and counted as ground. The image is
    looked at twice, from the first row to the last: `survey` finds values that may be fill, `examine` whether
    they are.

    Args:
        height: Rows of the image.
        width: Columns of the image.
    """

    def __init__(self, height: int, width: int) -> None:
        self._height, self._width = height, width
        self._step = max(1, math.isqrt(height * width // _SAMPLED))
        self._corners: list[np.ndarray] = []
        self._edges: list[np.ndarray] = []
        self._sample: list[np.ndarray] = []
        self._candidates: list[_Candidate] | None = None

    def survey(self, start: int, values: np.ndarray, valid: np.ndarray) -> None:
        """Look at some rows for the first time.

        Args:
            start: The first of them.
            values: The bands that are used, (n, rows, W) in the dtype of the file.
            valid: (rows, W) bool, the pixels with data as the file declares them.
        """
        rows = [row for row in (0, self._height - 1) if start <= row < start + len(valid)]
        for row in rows:
            edge, known = values[:, row - start], valid[row - start]
            self._corners += [edge[:, column].copy() for column in (0, -1) if known[column]]
            self._edges.append(edge[:, known])
        for column in (0, -1):
            self._edges.append(values[:, :, column][:, valid[:, column]])
        # Copies, because views would keep the rows in memory.
        self._sample.append(values[:, -start % self._step :: self._step, :: self._step].copy())

    def is_open(self) -> bool:
        """Return, after the survey, whether any value may be fill, so that `examine` is needed."""
        return bool(self._found())

    def examine(self, values: np.ndarray, valid: np.ndarray) -> None:
        """Look at some rows for the second time; arguments as in `survey`."""
        rows = max(1, _PIXELS // self._width)
        for start in range(0, len(valid) if self._found() else 0, rows):
            part = slice(start, start + rows)
            for candidate in self._found():
                candidate.add(values[:, part], valid[part])

    def notice(self) -> list[str]:
        """Return a line if there is such an area, else none."""
        for candidate in self._found():
            if (share := candidate.share()) is not None:
                return [_describe(candidate.fill, share)]
        return []

    def _found(self) -> "list[_Candidate]":
        """Return what may be fill: the values of the corners, the least and the greatest of the border."""
        if self._candidates is None:
            edges = np.concatenate(self._edges, axis=1)
            sample = np.concatenate(self._sample, axis=1)
            found = self._corners
            if edges.size:
                found = found + [np.full(len(edges), end) for end in (edges.min(), edges.max())]
            distinct = dict.fromkeys(tuple(each.tolist()) for each in found)
            self._candidates = [
                _Candidate(fill, self._height, self._width)
                for fill in (np.array(each, edges.dtype) for each in distinct)
                # A colour of the ground may be flat.
                if (len(set(fill.tolist())) == 1 or set(fill.tolist()) <= _ends(fill.dtype))
                and _equal(sample, fill).mean() >= _LARGE / 2
            ]
            self._edges, self._sample = [], []
        return self._candidates


class _Candidate:
    """A value (n,) that may be fill, and what is known of the pixels that have it."""

    def __init__(self, fill: np.ndarray, height: int, width: int) -> None:
        self.fill = fill
        self._areas = BorderAreas(height, width)
        self._ranges = [_Range(value) for value in fill]
        self._pairs = self._equal_pairs = 0
        self._pixels = height * width

    def add(self, values: np.ndarray, valid: np.ndarray) -> None:
        """Look at some rows: values (n, rows, W), valid (rows, W) bool."""
        filled = valid & _equal(values, self.fill)
        self._areas.add(filled)
        for each, band in zip(self._ranges, values, strict=True):
            each.add(band[valid])
        # How flat the rest is: pixels that equal their neighbour to the right.
        where = valid & ~filled
        pairs = where[:, 1:] & where[:, :-1]
        self._pairs += int(pairs.sum())
        self._equal_pairs += int(
            np.logical_and.reduce([band[:, 1:] == band[:, :-1] for band in values] + [pairs]).sum()
        )

    def share(self) -> float | None:
        """Return the share (0..1) of the image in areas of it at the border; None if it is no fill."""
        share = self._areas.pixels / self._pixels
        if all(each.is_end() for each in self._ranges):
            return share if share >= _LARGE else None
        if not _VERY_LARGE <= share < 1:
            return None
        # A drawing, of which one colour is no more fill than the others, is flat everywhere.
        return None if self._pairs and self._equal_pairs / self._pairs > 0.5 else share


class _Range:
    """The range of the values of a band, and of those that are not `value`."""

    def __init__(self, value: np.generic) -> None:
        self._value, self._dtype = value, value.dtype
        self._all: list[float] = []
        self._others: list[float] = []

    def add(self, data: np.ndarray) -> None:
        for ends, values in ((self._all, data), (self._others, data[data != self._value])):
            if values.size:
                low, high = float(values.min()), float(values.max())
                ends[:] = [min([low, *ends]), max([high, *ends])]

    def is_end(self) -> bool:
        """Return whether `value` is 0 or an end of the dtype, or lies apart from all other values.

        Apart: the gap to the next value is wider than the range of the others, as of -9999 below 0..3000.
        """
        value = self._value.item()
        if value not in self._all:
            return False
        if value in _ends(self._dtype):
            return True
        low, high = self._others or (value, value)
        return bool(max(low - value, value - high) > high - low)


def _describe(fill: np.ndarray, share: float) -> str:
    """Return the line about a fill (n,) with a share (0..1) of the image."""
    if len(set(fill.tolist())) == 1:
        what = f"the value {_spelled(fill[0])} in every band"
        number = _spelled(fill[0])
        # Such as -1e+20, which the command line takes for a flag of its own.
        equals = "=" if number.startswith("-") and "e" in number else " "
        remedy = f"declare it (--nodata{equals}{number}, nodata in Python)"
    else:
        numbers = " ".join(map(_spelled, fill))
        what = f"the values {numbers} in its bands"
        remedy = f'declare it (gdalwarp -srcnodata "{numbers}" -dstalpha IN OUT)'
    return (
        f"{share:.0%} of the image, connected to its border, has {what} and is taken for ground: if it "
        f"is fill, {remedy}"
    )


def _spelled(value: np.generic) -> str:
    """Return a number as short as it is still the same number in the dtype of the file."""
    short = f"{value:g}"
    return short if value.dtype.type(float(short)) == value else str(value)


def _equal(values: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Return where all bands (n, H, W) have their value of `fill` (n,): (H, W) bool."""
    return np.logical_and.reduce([band == value for band, value in zip(values, fill, strict=True)])


def _ends(dtype: np.dtype) -> set[int]:
    """Return 0 and, of integers, the ends of the range of a dtype."""
    return {0, int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)} if dtype.kind in "ui" else {0}
