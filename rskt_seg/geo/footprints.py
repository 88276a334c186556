"""Where tiles of images lie on the ground, so that parts of a set show none of it twice."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rskt_seg.geo.georeference import Georeference
from rskt_seg.windows import Window

if TYPE_CHECKING:
    from rasterio.crs import CRS

_POINTS = 9
"""Points of each side of a tile that are projected where images have several CRS."""
_NOISE = 1e-3
"""Part of a pixel by which neighbours that touch may seem to overlap, by rounding."""


def ground_boxes(
    windows: Sequence[Window], place: Georeference | None, crs: "CRS | None"
) -> np.ndarray | None:
    """Return the smallest boxes on the ground that hold parts of an image.

    A box holds more than its tile where the image is turned against the axes of the CRS: two boxes may then
    overlap where tiles only come near, but never the other way round.

    Args:
        windows: N parts of the image, px.
        place: Where the image lies.
        crs: The CRS of the boxes; None for that of the image.

    Returns:
        (N, 4) float64 left, bottom, right, top, drawn in by a thousandth of a pixel, or, where they are
        projected, a pixel larger; None for an image
        without an affine transform, and for one without CRS where `crs` is given.
    """
    if place is None or place.transform is None or (crs is not None and place.crs is None):
        return None
    if not len(windows):
        return np.empty((0, 4))
    corners = np.array([(w.left, w.top, w.right, w.bottom) for w in windows], float)
    projected = crs is not None and place.crs is not None and place.crs != crs
    # Where sides become curves, the points on them may miss the outermost one.
    inset = np.array([1, 1, -1, -1]) * (-1.0 if projected else _NOISE)
    left, top, right, bottom = (corners + inset).T
    along = np.linspace(0, 1, _POINTS)[:, None]
    columns = np.concatenate([left + along * (right - left)] * 2 + [left + 0 * along, right + 0 * along])
    rows = np.concatenate([top + 0 * along, bottom + 0 * along] + [top + along * (bottom - top)] * 2)
    a, b, c, d, e, f = place.transform[:6]
    xs, ys = a * columns + b * rows + c, d * columns + e * rows + f
    if projected:
        from rasterio.warp import transform

        shape = xs.shape
        xs, ys = (np.array(each).reshape(shape) for each in transform(place.crs, crs, xs.ravel(), ys.ravel()))
    return np.stack([xs.min(axis=0), ys.min(axis=0), xs.max(axis=0), ys.max(axis=0)], axis=1)


def overlapping(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which of some boxes overlap any of others.

    Args:
        boxes: (N, 4) left, bottom, right, top.
        others: (M, 4).

    Returns:
        (N,) bool; boxes that only touch do not overlap.
    """
    found = np.zeros(len(boxes), bool)
    for left, bottom, right, top in others:
        found |= (boxes[:, 0] < right) & (left < boxes[:, 2]) & (boxes[:, 1] < top) & (bottom < boxes[:, 3])
    return found


def metres_per_unit(place: Georeference | None) -> float | None:
    """Return the metres of a unit of a projected CRS; None for an image without one, or without transform."""
    if place is None or place.transform is None or place.crs is None or not place.crs.is_projected:
        return None
    return float(place.crs.linear_units_factor[1])
