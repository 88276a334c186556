"""Pictures of cost maps: how well each class name matches each place of an image."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rskt_seg.visualization.figures import ClassGrid, render

_MAX_COLUMNS = 8


def draw_cost_maps(
    image: np.ndarray, maps: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> np.ndarray:
    """Draw cost maps as in figure 5 of the RSKT-Seg paper: kinds of cost downwards, classes across.

    Each kind has a colour scale of its own, common to its classes. Beyond 8 classes further blocks of rows
    follow below.

    Args:
        image: (H, W, 3) uint8 RGB, drawn first.
        maps: Title of each kind of cost -> its maps (K, h, w); NaN stays empty.
        class_names: K names.

    Returns:
        Picture (H, W, 3) uint8 RGB.
    """
    columns = min(len(class_names), _MAX_COLUMNS)
    grid = ClassGrid(image, len(maps) * math.ceil(len(class_names) / columns), columns, 1.5)
    for row, (row_name, costs) in enumerate(maps.items()):
        lowest, highest = float(np.nanmin(costs)), float(np.nanmax(costs))
        for k, name in enumerate(class_names):
            block, column = divmod(k, columns)
            panel = grid.panel(block * len(maps) + row, column, row_name, name if row == 0 else "")
            panel.imshow(
                costs[k],
                extent=grid.extent,
                cmap="viridis",
                interpolation="bilinear",
                vmin=lowest,
                vmax=highest,
            )
    return render(grid.figure)
