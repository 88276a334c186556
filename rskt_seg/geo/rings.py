"""Boundaries of regions of pixels, and the corners that they are found from.

A region is a set of pixels. At a crossing of grid lines let `turn` be the number of its pixels above left and
below right less the number above right and below left: 1 or -1 at a corner, 2 or -2 where two pixels touch
by their corners alone, 0 elsewhere. Corners determine the region: along every line of the grid they are the
ends of the boundary's edges, in pairs. And `turn` of two regions together is the sum of theirs, so that
regions merge by putting their corners together.
"""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Corners:
    """Corners of regions at all crossings of some rows.

    Attributes:
        row: The first of these rows. Corners with the same one are of the same rows.
        region: (K,) the region of each.
        y: (K,) row of the crossing of grid lines.
        x: (K,) its column.
        turn: (K,) its turn, or terms that sum to it.
    """

    row: int
    region: np.ndarray
    y: np.ndarray
    x: np.ndarray
    turn: np.ndarray

    def where(self, kept: np.ndarray) -> "Corners":
        """Return some of the corners: `kept` is (K,) bool, or indices."""
        return Corners(self.row, self.region[kept], self.y[kept], self.x[kept], self.turn[kept])

    def of(self, region: int) -> "Corners":
        """Return these corners as those of a single region, whose number takes no memory."""
        return replace(self, region=np.broadcast_to(np.int64(region), self.y.shape))


@dataclass(frozen=True)
class Rings:
    """Closed rings of several regions, in the order of the regions.

    Attributes:
        x: (N,) columns of the crossings; the last of a ring is its first.
        y: (N,) rows.
        ring_starts: (R + 1,) where each ring begins in `x`, and the end.
        region_starts: (G + 1,) where the rings of each region begin, and the end. The first is its outer
            ring, others are holes.
    """

    x: np.ndarray
    y: np.ndarray
    ring_starts: np.ndarray
    region_starts: np.ndarray


def insert_points(rings: Rings, y: np.ndarray, x: np.ndarray) -> Rings:
    """Add the points that lie on edges of rings, so that rings which share a border share its points.

    Args:
        rings: The rings.
        y: (P,) rows of crossings; points that lie on no edge are passed over.
        x: (P,) columns.

    Returns:
        The same rings with more points.
    """
    edge = np.ones(len(rings.x), bool)
    edge[rings.ring_starts[1:] - 1] = False
    added = np.zeros(len(edge), np.int64)
    firsts, back = np.zeros(len(edge), np.int64), np.zeros(len(edge), bool)
    span = int(max(rings.x.max(initial=0), rings.y.max(initial=0), x.max(initial=0), y.max(initial=0))) + 1
    # Both lists of points, by rows and by columns, one behind the other.
    keys = np.unique(y.astype(np.int64) * span + x), np.unique(x.astype(np.int64) * span + y)
    points_y = np.append(keys[0] // span, keys[1] % span)
    points_x = np.append(keys[0] % span, keys[1] // span)
    for line, along, sorted_keys, behind in (
        (rings.y, rings.x, keys[0], 0),
        (rings.x, rings.y, keys[1], len(keys[0])),
    ):
        line, start, end = line.astype(np.int64), along.astype(np.int64), np.roll(along, -1).astype(np.int64)
        here = edge & (line == np.roll(line, -1))
        low = np.searchsorted(sorted_keys, line * span + np.minimum(start, end), side="right")
        high = np.searchsorted(sorted_keys, line * span + np.maximum(start, end), side="left")
        added[here], firsts[here] = (high - low)[here], (low + behind)[here]
        back[here] = (start > end)[here]
    before = np.cumsum(added) - added
    owner = np.repeat(np.arange(len(edge)), added)
    offset = np.arange(len(owner)) - before[owner]
    point = firsts[owner] + np.where(back[owner], added[owner] - 1 - offset, offset)
    places = np.arange(len(edge)) + before
    out_x, out_y = np.empty((2, len(edge) + len(owner)), np.int64)
    out_x[places], out_y[places] = rings.x, rings.y
    there = places[owner] + 1 + offset
    out_x[there], out_y[there] = points_x[point], points_y[point]
    ends = np.append(places, len(out_x))
    return Rings(out_x, out_y, ends[rings.ring_starts], rings.region_starts)
