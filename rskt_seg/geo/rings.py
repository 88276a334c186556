"""Boundaries of regions of pixels, from their corners alone.

A region is a set of pixels. At a crossing of grid lines let `turn` be the number of its pixels above left and
below right less the number above right and below left: 1 or -1 at a corner, 2 or -2 where two pixels touch
by their corners alone, 0 elsewhere. Corners determine the region: along every line of the grid they are the
ends of the boundary's edges, in pairs. And `turn` of two regions together is the sum of theirs, so that
regions merge by putting their corners together.
"""

from dataclasses import dataclass

import numpy as np


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


def trace(region: np.ndarray, y: np.ndarray, x: np.ndarray, turn: np.ndarray, clockwise: bool) -> Rings:
    """Connect the corners of regions whose pixels are connected by their sides.

    Rings never cross or touch themselves: where two pixels of a region touch by their corners alone, the
    pixels between them are separate, as in valid polygons. Each begins at its first corner in the order of
    rows. The result does not depend on the order of the corners.

    Args:
        region: (K,) region 0..G-1 of each corner; each has some.
        y: (K,) row of the crossing.
        x: (K,) column.
        turn: (K,) its turn, or terms that sum to it.
        clockwise: Whether outer rings run clockwise as seen with rows downwards; holes run the other way.

    Returns:
        The rings.
    """
    region, y, x, turn = _sum_turns(region, y, x, turn)
    # Where pixels touch, two corners lie at one crossing; the first ends the edge from the left.
    source = np.repeat(np.arange(len(turn)), np.abs(turn))
    second = np.append(False, source[1:] == source[:-1])[: len(source)]
    region, y, x, turn = region[source], y[source], x[source], turn[source]
    across = np.arange(len(source)) ^ 1  # partners along a row are neighbours in this order
    below = np.where(turn > 0, ~second, second)  # of two, the one whose edge goes down
    order = np.lexsort((below, y, x, region))
    along = np.empty_like(order)
    along[order[::2]], along[order[1::2]] = order[1::2], order[::2]
    ring, heads = _number_rings(across, along)
    sizes = np.bincount(ring)
    starts = np.append(0, np.cumsum(sizes + 1))
    corner, position = _walk(along[across], ring, heads, sizes)
    outer = np.append(True, np.diff(region[heads]) != 0)[: len(heads)]
    forward = outer == clockwise
    out = np.empty(starts[-1], np.intp)
    base, length = starts[ring[corner]], sizes[ring[corner]]
    ahead = forward[ring[corner]]
    out[base + np.where(ahead, position, length - position)] = corner
    out[base + np.where(ahead, position + 1, length - position - 1)] = across[corner]
    out[starts[:-1]] = out[starts[1:] - 1] = heads
    return Rings(x[out], y[out], starts, np.append(np.flatnonzero(outer), len(heads)))


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


def _sum_turns(
    region: np.ndarray, y: np.ndarray, x: np.ndarray, turn: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Add the turns of equal crossings of a region; return those that are not 0, in order."""
    order = np.lexsort((x, y, region))
    region, y, x, turn = region[order], y[order], x[order], turn[order]
    new = (region[1:] != region[:-1]) | (y[1:] != y[:-1]) | (x[1:] != x[:-1])
    firsts = np.flatnonzero(np.append(True, new)[: len(order)])
    sums = np.add.reduceat(turn, firsts) if len(firsts) else turn
    kept = firsts[sums != 0]
    return region[kept], y[kept], x[kept], sums[sums != 0]


def _number_rings(across: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ring of each corner, in the order of first corners, and the first corner of each."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(across)
    ends = np.append(across, along)
    graph = coo_array((np.ones(2 * count, bool), (np.tile(np.arange(count), 2), ends)), shape=(count, count))
    _, found = connected_components(graph, directed=False)
    _, heads, ring = np.unique(found, return_index=True, return_inverse=True)
    order = np.argsort(heads)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[ring], heads[order]


def _walk(
    following: np.ndarray, ring: np.ndarray, heads: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the place of every other corner of each ring on a walk that leaves its first along the row.

    Args:
        following: (K,) the corner after next.
        ring: (K,) the ring of each corner.
        heads: (R,) first corners.
        sizes: (R,) numbers of corners.

    Returns:
        The corners that are left along a row, and how many corners come before each.
    """
    # Distances to the head by doubling of steps. Walks in the other direction never meet it.
    target, steps = following.copy(), np.full(len(following), 2)
    target[heads], steps[heads] = heads, 0
    for _ in range(int(sizes.max(initial=1)).bit_length()):
        steps += steps[target]
        target = target[target]
    corner = np.flatnonzero(target == heads[ring])
    length = sizes[ring[corner]]
    return corner, (length - steps[corner]) % length
