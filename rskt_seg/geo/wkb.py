"""Polygons of rings in the well-known binary form, without other copies of their points."""

import struct
from typing import TYPE_CHECKING

import numpy as np

from rskt_seg.geo.rings import Rings

if TYPE_CHECKING:
    from affine import Affine

_POINTS = 2**18
"""Points that are placed at once, about."""
_LITTLE_ENDIAN, _POLYGON = 1, 3


def polygon_binaries(rings: Rings, transform: "Affine") -> np.ndarray:
    """Return polygons as WKB.

    Args:
        rings: The rings of G regions.
        transform: Places columns and rows on the ground.

    Returns:
        (G,) object, the bytes of each.
    """
    starts, words = rings.ring_starts, []
    first, last = 0, len(starts) - 1
    while first < last:
        until = max(first + 1, int(np.searchsorted(starts, starts[first] + _POINTS, side="right")) - 1)
        points = slice(starts[first], starts[until])
        x, y = rings.x[points].astype(float), rings.y[points].astype(float)
        t = transform
        placed = np.stack([t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f], axis=1).astype("<f8")
        # Before its points each ring has their number, as long as half a coordinate.
        counts = np.diff(starts[first : until + 1])
        places = 4 * (starts[first:until] - starts[first])
        words.append(np.insert(placed.view("<u4").ravel(), places, counts).tobytes())
        first = until
    data = memoryview(b"".join(words))
    words.clear()
    ends = (16 * starts + 4 * np.arange(len(starts)))[rings.region_starts].tolist()
    counts = np.diff(rings.region_starts).tolist()
    found = np.empty(len(counts), object)
    for number, count in enumerate(counts):
        head = struct.pack("<BII", _LITTLE_ENDIAN, _POLYGON, count)
        found[number] = b"".join((head, data[ends[number] : ends[number + 1]]))
    return found
