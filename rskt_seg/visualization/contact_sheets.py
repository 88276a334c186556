"""A look at a dataset: some of its images, each beside itself with its labels."""

from collections.abc import Sequence

import numpy as np

from rskt_seg.visualization.figures import (
    UNLABELLED_COLOR,
    add_legend,
    add_panels,
    fill_panel,
    image_size,
    legend_patch,
    new_figure,
    render,
    shrink_image,
    shrink_labels,
)
from rskt_seg.visualization.labels import draw_overlay
from rskt_seg.visualization.scenes import Scene

_COLUMNS = 3
_INCHES = 1.8
_LETTERS = 30


def draw_contact_sheet(scenes: Sequence[Scene], class_names: Sequence[str], colors: np.ndarray) -> np.ndarray:
    """Draw images of a dataset in rows of three, each beside itself with its labels, over a legend.

    Args:
        scenes: At least one image and its truth; their sizes may differ. Pixels without a class show the
            image alone.
        class_names: K names.
        colors: (K, 3) uint8 RGB.

    Returns:
        Picture (H, W, 3) uint8 RGB.
    """
    columns = min(_COLUMNS, len(scenes))
    rows = -(-len(scenes) // columns)
    figure = new_figure(max(2 * columns * (_INCHES + 0.05), 3.5), rows * (_INCHES + 0.25) + 0.9)
    panels = [panel for row in add_panels(figure, rows, 2 * columns) for panel in row]
    shown = np.zeros(len(class_names), bool)
    for number, scene in enumerate(scenes):
        ids, size, title = scene.truth, image_size(scene.image), scene.name
        shown[np.unique(ids[ids < len(class_names)])] = True
        small = shrink_image(scene.image)
        pictures = (small, draw_overlay(small, shrink_labels(ids), colors, alpha=0.55))
        for panel, picture in zip(panels[2 * number : 2 * number + 2], pictures, strict=True):
            fill_panel(panel, picture, "", size, "antialiased")
        short = title if len(title) <= _LETTERS else f"…{title[1 - _LETTERS :]}"
        panels[2 * number].set_title(short, fontsize=6, parse_math=False, loc="left")
    handles = [legend_patch(colors[k], name) for k, name in enumerate(class_names) if shown[k]]
    add_legend(figure, [*handles, legend_patch(UNLABELLED_COLOR, "not tinted: no class")])
    return render(figure)
