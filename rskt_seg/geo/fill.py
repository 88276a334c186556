"""Fill that a raster does not declare as nodata, such as the black around a rotated orthophoto."""

import numpy as np
from scipy import ndimage

_LARGE = 0.02
"""Share of the pixels from which on a fill is told."""


def fill_notice(values: np.ndarray, valid: np.ndarray) -> list[str]:
    """Return a line if a large area at the border has one value at the end of the range in all bands.

    Such a fill spoils the percentiles of a stretch, and is classified and counted as ground.

    Args:
        values: The bands that are used, (n, H, W) in the dtype of the file.
        valid: (H, W) bool, the pixels with data as the file declares them.

    Returns:
        No line, or one.
    """
    corners = values[:, ::-1, ::-1][:, :: values.shape[1] - 1 or 1, :: values.shape[2] - 1 or 1]
    for value in sorted(set.intersection(*(set(band.ravel().tolist()) for band in corners))):
        if not _at_an_end(value, values):
            continue
        share = _share_at_border((values == value).all(axis=0) & valid)
        if share >= _LARGE:
            return [
                f"{share:.0%} of the image, connected to its border, has the value {value:g} in every band "
                f"and is taken for ground: if it is fill, declare it (--nodata {value:g}, nodata in Python)"
            ]
    return []


def _at_an_end(value: float, values: np.ndarray) -> bool:
    """Return whether a value is 0 or an end of the dtype, or lies apart from all others.

    Apart: the gap to the next value is wider than the range of the others, as of -9999 below 0..3000.
    """
    low, high = float(values.min()), float(values.max())
    if value not in (low, high):
        return False
    ends = (0, np.iinfo(values.dtype).min, np.iinfo(values.dtype).max) if values.dtype.kind in "ui" else (0,)
    if value in ends:
        return True
    others = values[values != value]
    low, high = (float(others.min()), float(others.max())) if others.size else (value, value)
    return max(low - value, value - high) > high - low


def _share_at_border(filled: np.ndarray) -> float:
    """Return the share of the pixels in areas of `filled` (H, W) bool that touch the border."""
    if filled.mean() < _LARGE:
        return 0.0
    areas, _ = ndimage.label(filled)
    border = np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]])
    return float(np.isin(areas, np.unique(border[border > 0])).mean())
