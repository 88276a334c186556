"""The sieve of small areas on a whole array, slowly and by its definition."""

import numpy as np
from scipy import ndimage


def areas_of(values, none):
    """Number the areas (H, W) of equal values, connected by sides; -1 where the value is `none`."""
    areas, count = np.full(values.shape, -1), 0
    for value in np.unique(values[values != none]):
        found, number = ndimage.label(values == value)
        areas[found > 0] = found[found > 0] - 1 + count
        count += number
    return areas


def sieve(values, none, minimum, sizes=None):
    """Give areas below `minimum` (pixels, or sum of `sizes`) the class of their neighbours, in rounds."""
    values, areas = values.copy(), areas_of(values, none)
    sizes = np.ones(values.shape) if sizes is None else sizes
    small = {k for k in range(areas.max() + 1) if sizes[areas == k].sum() < minimum}
    height, width = values.shape
    while True:
        lengths = {}
        for y in range(height):
            for x in range(width):
                for v, u in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                    if not (0 <= v < height and 0 <= u < width and areas[y, x] in small):
                        continue
                    if areas[v, u] not in small and values[v, u] != none:
                        key = (areas[y, x], values[v, u])
                        lengths[key] = lengths.get(key, 0) + 1
        if not lengths:
            return values
        for area in {area for area, _ in lengths}:
            value = min((-length, value) for (of, value), length in lengths.items() if of == area)[1]
            values[areas == area] = value
            small.remove(area)
