"""Rings of regions of pixels from their corners (see `rskt_seg.geo.rings`), some rows at a time.

What goes on below these rows is a piece of a ring, and pieces are put together in the end, so that a region
of any size takes little more than its corners and its rings.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rskt_seg.geo.rings import Corners, Rings

_BAND = 2**17
"""Corners that are connected at once, about."""


@dataclass(frozen=True)
class _Pieces:
    """Rings within some rows, and parts of rings that go on in others.

    Attributes:
        y: (K,) rows of the crossings, piece by piece; from even places of a piece one goes on along the row.
        x: (K,) columns.
        starts: (P + 1,) where each piece begins, and the end.
        region: (P,) the region of each.
        least: (P,) the first corner of each in the order of rows, as `_keys` of its row and column.
        place: (P,) its place in the piece.
    """

    y: np.ndarray
    x: np.ndarray
    starts: np.ndarray
    region: np.ndarray
    least: np.ndarray
    place: np.ndarray


def trace(corners: Iterable[Corners], clockwise: bool) -> Rings:
    """Connect the corners of regions whose pixels are connected by their sides.

    Rings never cross or touch themselves: where two pixels of a region touch by their corners alone, the
    pixels between them are separate, as in valid polygons. Each begins at its first corner in the order of
    rows. The result does not depend on the order of the corners.

    Args:
        corners: All corners of G regions, whose numbers follow each other; each region has some.
        clockwise: Whether outer rings run clockwise as seen with rows downwards; holes run the other way.

    Returns:
        The rings.
    """
    seam = _Seam()
    bands = [seam.connect(*band) for band in _bands(corners)]
    return _join(bands, seam.links(), clockwise)


def _bands(corners: Iterable[Corners]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield region, y, x and turn of the corners, some whole rows at a time from the top."""
    waiting: list[Corners] = []
    count = 0
    for part in sorted(corners, key=lambda each: each.row):
        if count >= _BAND and part.row != waiting[-1].row:
            yield _together(waiting)
            waiting, count = [], 0
        waiting.append(part)
        count += len(part.y)
    if waiting:
        yield _together(waiting)


def _together(parts: Sequence[Corners]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    region, y, x, turn = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("region", "y", "x", "turn")
    )
    return region, y, x, turn


class _Seam:
    """Connects corners from the top down, and knows the edges that go on below the last ones.

    Piece p has the ends 2 p and 2 p + 1.
    """

    def __init__(self) -> None:
        self._pieces = 0
        self._links: list[np.ndarray] = []
        self._keys, self._ends = np.zeros((2, 0), np.int64)  # region and column of open edges, and their ends

    def links(self) -> np.ndarray:
        """Return the end that follows on each end of all pieces: (2 P,)."""
        pairs = np.concatenate([np.zeros((2, 0), np.int64), *self._links], axis=1)
        links = np.empty(2 * self._pieces, np.int64)
        links[pairs[0]], links[pairs[1]] = pairs[1], pairs[0]
        return links

    def connect(self, region: np.ndarray, y: np.ndarray, x: np.ndarray, turn: np.ndarray) -> _Pieces:
        """Connect the corners (K,) of the next rows."""
        region, y, x, turn = _sum_turns(region, y, x, turn)
        # Where pixels touch, two corners lie at one crossing; the first ends the edge from the left.
        source = np.repeat(np.arange(len(turn)), np.abs(turn))
        second = np.append(False, source[1:] == source[:-1])[: len(source)]
        region, y, x, turn = region[source], y[source], x[source], turn[source]
        across = np.arange(len(source)) ^ 1  # partners along a row are neighbours in this order
        below = np.where(turn > 0, ~second, second)  # of two, the one whose edge goes down
        keys = _keys(region, x)
        order = np.lexsort((below, y, keys))
        along, above, down, passed = self._partners(keys, order)
        ring, heads = _number_rings(across, along)
        loose = np.flatnonzero(along == np.arange(len(along)))
        loose = loose[np.argsort(ring[loose], kind="stable")]
        # The two ends of a piece are closed, so that it is walked as a ring.
        along[loose[::2]], along[loose[1::2]] = loose[1::2], loose[::2]
        heads[ring[loose[::2]]] = loose[::2]
        ends = 2 * (self._pieces + ring) + (heads[ring] != np.arange(len(ring)))
        closed = np.ones(len(heads), bool)
        closed[ring[loose]] = False
        whole = 2 * (self._pieces + np.flatnonzero(closed))
        self._links += [np.stack([self._ends[passed], ends[above]]), np.stack([whole, whole + 1])]
        keys = np.append(np.delete(self._keys, passed), keys[down])
        order = np.argsort(keys)
        self._keys, self._ends = keys[order], np.append(np.delete(self._ends, passed), ends[down])[order]
        self._pieces += len(heads)
        return _lay_out(region, y, x, across, along, ring, heads)

    def _partners(
        self, keys: np.ndarray, order: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pair corners along columns.

        Args:
            keys: (K,) region and column of each corner.
            order: (K,) the corners column by column from the top.

        Returns:
            The partner (K,) of each corner, itself if that lies in other rows; the corners whose edge comes
            from above, those whose edge goes on below, and the open edges that the former end.
        """
        sorted_keys = keys[order]
        change = sorted_keys[1:] != sorted_keys[:-1]
        first, last = (np.append(True, change)[: len(order)], np.append(change, True)[: len(order)])
        at = np.searchsorted(self._keys, sorted_keys[first])
        is_open = np.append(self._keys, -1)[at] == sorted_keys[first]
        column = np.cumsum(first) - 1
        rank = np.arange(len(order)) - np.flatnonzero(first)[column] + is_open[column]
        upper = rank % 2 == 0
        partner = np.arange(len(order))
        one = np.flatnonzero(upper & ~last)
        partner[order[one]], partner[order[one + 1]] = order[one + 1], order[one]
        return partner, order[first][is_open], order[last & upper], at[is_open]


def _lay_out(
    region: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    across: np.ndarray,
    along: np.ndarray,
    ring: np.ndarray,
    heads: np.ndarray,
) -> _Pieces:
    """Put corners (K,) in the order of a walk along their pieces, from the heads (P,) of these."""
    sizes = np.bincount(ring)
    starts = np.append(0, np.cumsum(sizes))
    corner, position = _walk(along[across], ring, heads, sizes)
    out = np.empty(len(ring), np.intp)
    place = starts[ring[corner]] + position
    out[place], out[place + 1] = corner, across[corner]
    y, x = y[out], x[out]
    keys = _keys(y, x)
    least = np.minimum.reduceat(keys, starts[:-1]) if len(heads) else keys
    found = np.flatnonzero(keys == np.repeat(least, sizes))
    return _Pieces(y, x, starts, region[heads], least, found - starts[:-1])


@dataclass(frozen=True)
class _Courses:
    """Where the corners of P pieces are in their rings: corner j at `first + step * j`, modulo `length`.

    Attributes:
        start: (P,) where the ring begins.
        first: (P,) place of corner 0 in the ring, counted from the first corner of that; may be negative.
        step: (P,) 1 or -1.
        length: (P,) corners of the ring.
    """

    start: np.ndarray
    first: np.ndarray
    step: np.ndarray
    length: np.ndarray


def _join(bands: list[_Pieces], links: np.ndarray, clockwise: bool) -> Rings:
    """Put pieces together to rings; `links` (2 P,) is the end that follows on each end.

    `bands` is emptied on the way, as it may be what fills the memory.
    """
    region, least, place = (
        np.concatenate([getattr(band, name) for band in bands]) for name in ("region", "least", "place")
    )
    sizes = np.concatenate([np.diff(band.starts) for band in bands])
    courses, starts, region_starts = _plan_courses(region, least, place, sizes, links, clockwise)
    x, y = np.empty((2, starts[-1]), np.int32)
    bands.reverse()
    done = 0
    while bands:
        band = bands.pop()
        counts = np.diff(band.starts)
        here = slice(done, done + len(counts))
        start, first, step, length = (np.repeat(each[here], counts) for each in vars(courses).values())
        at = first + step * (np.arange(len(band.x)) - np.repeat(band.starts[:-1], counts))
        at += np.where(at < 0, length, 0) + start
        x[at], y[at] = band.x, band.y
        done += len(counts)
    x[starts[1:] - 1], y[starts[1:] - 1] = x[starts[:-1]], y[starts[:-1]]
    return Rings(x, y, starts, region_starts)


def _plan_courses(
    region: np.ndarray,
    least: np.ndarray,
    place: np.ndarray,
    sizes: np.ndarray,
    links: np.ndarray,
    clockwise: bool,
) -> tuple[_Courses, np.ndarray, np.ndarray]:
    """Find the rings that P pieces are parts of.

    Args:
        region: (P,) as in `_Pieces`.
        least: (P,) likewise.
        place: (P,) likewise.
        sizes: (P,) numbers of corners.
        links: (2 P,) the end that follows on each end.
        clockwise: See `trace`.

    Returns:
        The courses of the pieces, and `ring_starts` and `region_starts` of `Rings`.
    """
    other = np.arange(len(links)) ^ 1
    ring, heads = _number_rings(other, links)
    entry, position = _walk(links[other], ring, heads, np.bincount(ring))
    entry = entry[np.lexsort((position, ring[entry]))]
    # Pieces in the order of the walk: their ring, whether they are walked from their beginning, and where.
    piece, ring, ahead = entry >> 1, ring[entry], entry % 2 == 0
    offset = np.cumsum(sizes[piece]) - sizes[piece]
    firsts = np.flatnonzero(np.append(True, np.diff(ring) != 0)[: len(ring)])
    lengths = np.diff(np.append(offset[firsts], sizes.sum()))
    offset -= offset[firsts][ring]
    # A ring begins at the first corner of all its pieces, and the first ring of a region is its outer one.
    head = np.lexsort((least[piece], ring))[firsts]
    order = np.lexsort((least[piece[head]], region[piece[head]]))
    outer = np.append(True, np.diff(region[piece[head]][order]) != 0)[: len(order)]
    starts = np.append(0, np.cumsum(lengths[order] + 1))
    begins, forward = np.empty_like(order), np.empty(len(order), bool)
    begins[order], forward[order] = starts[:-1], outer == clockwise
    # Forward is along the row at the first corner, as pieces go at even places.
    turned = ((place[piece] % 2 == 0) == ahead)[head] != forward
    zero = offset + np.where(ahead, 0, sizes[piece] - 1)
    middle = offset + np.where(ahead, place[piece], sizes[piece] - 1 - place[piece])
    sign = np.where(turned, -1, 1)[ring]
    found = begins[ring], sign * (zero - middle[head][ring]), np.where(ahead, sign, -sign), lengths[ring]
    back = np.argsort(piece)
    courses = _Courses(*(each[back] for each in found))
    return courses, starts, np.append(np.flatnonzero(outer), len(order))


def _keys(major: np.ndarray, minor: np.ndarray) -> np.ndarray:
    """Return numbers (K,) that sort as pairs of numbers from 0 up to 2**31 do."""
    keys: np.ndarray = major.astype(np.int64) << 32 | minor
    return keys


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
