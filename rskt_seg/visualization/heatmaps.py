"""Pictures of the class heatmaps of BiCoR-Seg."""

from collections.abc import Sequence

import numpy as np

from rskt_seg.visualization.figures import ClassGrid, draw_heat, render, shrink_image

_MAX_COLUMNS = 8


def draw_heatmaps(image: np.ndarray, maps: np.ndarray, class_names: Sequence[str]) -> list[np.ndarray]:
    """Draw class heatmaps over the image as in figure 5 of the BiCoR-Seg paper.

    Layers are downwards, classes across; all maps share one colour scale from 0 to 1.

    Args:
        image: (H, W, 3) uint8 RGB, also drawn alone first.
        maps: (L, K, h, w) in 0..1, of L layers.
        class_names: K names.

    Returns:
        Pictures (H, W, 3) uint8 RGB, one for every 8 classes.
    """
    pictures = []
    backdrop = shrink_image(image)
    for first in range(0, len(class_names), _MAX_COLUMNS):
        page = class_names[first : first + _MAX_COLUMNS]
        grid = ClassGrid(image, len(maps), len(page), 2.0)
        for row, layer in enumerate(maps):
            for column, name in enumerate(page):
                panel = grid.panel(row, column, f"Layer {row + 1}", name if row == 0 else "")
                panel.imshow(backdrop, extent=grid.extent)
                heat = draw_heat(panel, layer[first + column], grid.extent)
        with_heat = [panel for row in grid.panels for panel in row[1:]]
        grid.figure.colorbar(heat, ax=with_heat, shrink=0.7, pad=0.01)
        pictures.append(render(grid.figure))
    return pictures
