"""Connected areas of a mask that is seen some rows at a time."""

import numpy as np


class BorderAreas:
    """The areas of a mask, connected by sides of pixels, that touch the border of the image.

    Only the areas of the last row are remembered, so that memory is that of a few rows.

    Args:
        height: Rows of the image.
        width: Columns of the image.

    Attributes:
        pixels: Number of pixels of the areas that touch the border, once all rows were added.
    """

    def __init__(self, height: int, width: int) -> None:
        self.pixels = 0
        self._height, self._row = height, 0
        # Of the last row: the area of each pixel (0: none); of each area its pixels and whether it touches.
        self._above = np.zeros(width, np.int64)
        self._sizes = np.zeros(1, np.int64)
        self._touches = np.zeros(1, bool)

    def add(self, mask: np.ndarray) -> None:
        """Add the next rows (rows, W) bool."""
        # Not at the top: few images need them, and they take longer to import than this package.
        from scipy import ndimage
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        areas, count = ndimage.label(mask)
        sizes = np.bincount(areas.ravel(), minlength=count + 1)
        touches = np.zeros(count + 1, bool)
        touches[areas[:, [0, -1]]] = True
        if self._row == 0:
            touches[areas[0]] = True
        self._row += len(mask)
        if self._row == self._height:
            touches[areas[-1]] = True
        # The numbers of the areas above follow those of these rows. 0 is no area.
        sizes, touches = np.append(sizes, self._sizes), np.append(touches, self._touches)
        both = (areas[0] > 0) & (self._above > 0)
        joined = areas[0][both], self._above[both] + count + 1
        graph = coo_array((np.ones(len(joined[0]), bool), joined), shape=(len(sizes), len(sizes)))
        _, group = connected_components(graph, directed=False)
        sizes[[0, count + 1]], touches[[0, count + 1]] = 0, False
        sizes = np.bincount(group, weights=sizes).astype(np.int64)
        touches = np.bincount(group, weights=touches) > 0
        self._above = np.where(areas[-1] > 0, group[areas[-1]], -1)
        open_groups, self._above = np.unique(np.append(-1, self._above), return_inverse=True)
        self._above = self._above[1:]
        ends = touches.copy()
        if self._row < self._height:
            ends[open_groups[1:]] = False
        self.pixels += int(sizes[ends].sum())
        self._sizes, self._touches = (
            np.append(0, sizes[open_groups[1:]]),
            np.append(False, touches[open_groups[1:]]),
        )
