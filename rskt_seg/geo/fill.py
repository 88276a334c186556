"""Fill that a raster does not declare as nodata, such as the black around a rotated orthophoto."""

import math

import numpy as np
from scipy import ndimage

_LARGE = 0.02
"""Share of the pixels from which on a fill at an end of the range is told."""
_VERY_LARGE = 0.1
"""Share from which on one value of all bands is told wherever it lies in the range."""
_SAMPLED = 2**14
"""Number of pixels on which a candidate is tried first."""


def fill_notice(values: np.ndarray, valid: np.ndarray) -> list[str]:
    """Return a line if a large area at the border has one value.

    Such a fill spoils the percentiles of a stretch, and is classified and counted as ground.

    Args:
        values: The bands that are used, (n, H, W) in the dtype of the file.
        valid: (H, W) bool, the pixels with data as the file declares them.

    Returns:
        No line, or one.
    """
    for fill in _candidates(values, valid):
        if len(set(fill.tolist())) > 1 and not set(fill.tolist()) <= _ends(values.dtype):
            continue  # a colour of the ground may be flat
        step = max(1, math.isqrt(valid.size // _SAMPLED))
        if _equal(values[:, ::step, ::step], fill).mean() < _LARGE / 2:
            continue
        data = values.reshape(len(values), -1) if valid.all() else values[:, valid]
        at_an_end = all(_at_an_end(value, band) for value, band in zip(fill.tolist(), data, strict=True))
        filled = valid & _equal(values, fill)
        share = _share_at_border(filled)
        if not (share >= _LARGE if at_an_end else _VERY_LARGE <= share < 1):
            continue
        if not at_an_end and _is_flat(values, valid & ~filled):
            continue  # a drawing, of which one colour is no more fill than the others
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
        return [
            f"{share:.0%} of the image, connected to its border, has {what} and is taken for ground: if it "
            f"is fill, {remedy}"
        ]
    return []


def _spelled(value: np.generic) -> str:
    """Return a number as short as it is still the same number in the dtype of the file."""
    short = f"{value:g}"
    return short if value.dtype.type(float(short)) == value else str(value)


def _candidates(values: np.ndarray, valid: np.ndarray) -> list[np.ndarray]:
    """Return the values (n,) of the valid corners, and the least and the greatest of the border."""
    found = [values[:, row, column] for row in (0, -1) for column in (0, -1) if valid[row, column]]
    edges = [(side, slice(None)) for side in (0, -1)] + [(slice(None), side) for side in (0, -1)]
    border = np.concatenate([values[:, rows, columns][:, valid[rows, columns]] for rows, columns in edges], 1)
    if border.size:
        found += [np.full(len(values), end) for end in (border.min(), border.max())]
    return [np.array(fill, values.dtype) for fill in dict.fromkeys(tuple(each.tolist()) for each in found)]


def _equal(values: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Return where all bands (n, H, W) have their value of `fill` (n,): (H, W) bool."""
    return np.logical_and.reduce([band == value for band, value in zip(values, fill, strict=True)])


def _at_an_end(value: float, data: np.ndarray) -> bool:
    """Return whether a value is 0 or an end of the dtype, or lies apart from all others of a band (N,).

    Apart: the gap to the next value is wider than the range of the others, as of -9999 below 0..3000.
    """
    low, high = float(data.min()), float(data.max())
    if value not in (low, high):
        return False
    if value in _ends(data.dtype):
        return True
    others = data[data != value]
    low, high = (float(others.min()), float(others.max())) if others.size else (value, value)
    return max(low - value, value - high) > high - low


def _ends(dtype: np.dtype) -> set[int]:
    """Return 0 and, of integers, the ends of the range of a dtype."""
    return {0, int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)} if dtype.kind in "ui" else {0}


def _is_flat(values: np.ndarray, where: np.ndarray) -> bool:
    """Return whether most pixels of an area (H, W) bool equal their neighbour to the right in all bands."""
    pairs = where[:, 1:] & where[:, :-1]
    equal = np.logical_and.reduce([band[:, 1:] == band[:, :-1] for band in values])
    return bool(equal[pairs].mean() > 0.5) if pairs.any() else False


def _share_at_border(filled: np.ndarray) -> float:
    """Return the share of the pixels in areas of `filled` (H, W) bool that touch the border."""
    areas, _ = ndimage.label(filled)
    border = np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]])
    return float(np.isin(areas, np.unique(border[border > 0])).mean())
