"""Which class takes an area of a map that is too small to be kept."""

from dataclasses import dataclass

import numpy as np

UNDECIDED = -1
"""The class of an area that is too small so far, or whose neighbours are not yet known."""


@dataclass(frozen=True)
class Borders:
    """Lengths of the borders between areas.

    Attributes:
        first: (N,) one area of each border.
        second: (N,) the other.
        length: (N,) sides of pixels along it.
    """

    first: np.ndarray
    second: np.ndarray
    length: np.ndarray

    @classmethod
    def none(cls) -> "Borders":
        """Return no borders."""
        return cls(*(np.zeros(0, np.int64) for _ in range(3)))

    def renumbered(self, numbers: np.ndarray) -> "Borders":
        """Return the borders between other areas, each of which is made of some of these.

        Args:
            numbers: (areas,) the new number of each area; -1 for those that are given up.

        Returns:
            One border for each pair of different areas.
        """
        first, second = numbers[self.first], numbers[self.second]
        apart = (first != second) & (first >= 0) & (second >= 0)
        low, high = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
        count = int(numbers.max(initial=0)) + 1
        keys, inverse = np.unique(low * count + high, return_inverse=True)
        length = np.bincount(inverse, self.length[apart], minlength=len(keys)).astype(np.int64)
        return Borders(keys // count, keys % count, length)

    def joined(self, other: "Borders") -> "Borders":
        """Return these borders and others."""
        return Borders(
            np.append(self.first, other.first),
            np.append(self.second, other.second),
            np.append(self.length, other.length),
        )

    def where(self, kept: np.ndarray) -> "Borders":
        """Return some of the borders, those where `kept` (N,) bool is true."""
        return Borders(self.first[kept], self.second[kept], self.length[kept])


def connected(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the group (count,) of each of some things of which pairs belong together.

    Args:
        count: Number of things.
        first: (N,) one of each pair.
        second: (N,) the other.

    Returns:
        Groups, numbered from 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    groups: np.ndarray = connected_components(graph, directed=False)[1]
    return groups


def decide(final: np.ndarray, classes: np.ndarray, growing: np.ndarray, borders: Borders) -> np.ndarray:
    """Give areas that are too small the class of their neighbours, as far as these are known.

    An area takes the class with which it shares the longest border, among those of its neighbours that are
    large enough; of equals the first in the legend. Areas that touch none of these follow in a second
    round, beside those that have got a class in the first, and so on. Areas that are surrounded by pixels
    without data keep theirs. Decisions are those for the whole map, whatever part of it was seen.

    Args:
        final: (N,) class of each area that is large enough or was decided on before, else `UNDECIDED`.
        classes: (N,) class of the pixels of each area.
        growing: (N,) bool, True for areas that may have more pixels below.
        borders: All borders of the undecided areas.

    Returns:
        (N,) `final` with the areas that could be decided on: those that touch neither a growing undecided
        area nor, by way of other undecided ones, will.
    """
    final, undecided = final.copy(), final == UNDECIDED
    between = borders.where(undecided[borders.first] & undecided[borders.second])
    cluster = connected(len(final), between.first, between.second)
    waiting = np.bincount(cluster, undecided & growing) > 0
    ready = undecided & ~waiting[cluster]
    area, neighbour = np.append(borders.first, borders.second), np.append(borders.second, borders.first)
    length = np.append(borders.length, borders.length)
    count = classes.max(initial=0) + 1
    while True:
        seen = ready[area] & (final[area] == UNDECIDED) & (final[neighbour] != UNDECIDED)
        if not seen.any():
            break
        keys, inverse = np.unique(area[seen] * count + final[neighbour[seen]], return_inverse=True)
        lengths = np.bincount(inverse, length[seen])
        keys = keys[np.lexsort((keys, -lengths, keys // count))]
        areas, firsts = np.unique(keys // count, return_index=True)
        final[areas] = keys[firsts] % count
    return np.where(ready & (final == UNDECIDED), classes, final)
