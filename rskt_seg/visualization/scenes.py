"""Scenes in rows, and in columns the image, its truth and what several methods make of it."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rskt_seg.visualization.figures import (
    UNLABELLED_COLOR,
    add_legend,
    add_panels,
    fill_panel,
    image_size,
    legend_patch,
    new_figure,
    panel_inches,
    render,
    shrink_image,
    shrink_labels,
)
from rskt_seg.visualization.labels import colorize

_PANEL_INCHES, _LEAST_INCHES = 2.2, 0.8


@dataclass(frozen=True, eq=False)
class Scene:
    """A row of `draw_scenes`.

    Attributes:
        name: What is written to its left.
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) class ids.
        labels: (H, W) class ids of each method.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    labels: Sequence[np.ndarray]


def draw_scenes(
    scenes: Sequence[Scene], class_names: Sequence[str], colors: np.ndarray, *, titles: Sequence[str]
) -> np.ndarray:
    """Draw scenes, a row each: image, truth, then each method, over a legend of the classes that occur.

    Args:
        scenes: At least one scene; their sizes may differ.
        class_names: K names.
        colors: (K, 3) uint8 RGB.
        titles: Names of the methods, in the order of `Scene.labels`.

    Returns:
        Picture (H, W, 3) uint8 RGB.
    """
    sizes = [panel_inches(image_size(scene.image), _PANEL_INCHES, _LEAST_INCHES) for scene in scenes]
    width, height = max(width for width, _ in sizes), max(height for _, height in sizes)
    columns = ["Image", "Ground truth", *titles]
    figure = new_figure(max(len(columns) * (width + 0.1) + 0.3, 3.5), len(scenes) * (height + 0.1) + 0.9)
    letters = max(8, int(width / 0.1))
    for row, (panels, scene) in enumerate(
        zip(add_panels(figure, len(scenes), len(columns)), scenes, strict=True)
    ):
        maps = [colorize(shrink_labels(each), colors) for each in (scene.truth, *scene.labels)]
        pictures = [shrink_image(scene.image), *maps]
        for column, (panel, picture, title) in enumerate(zip(panels, pictures, columns, strict=True)):
            fill_panel(panel, picture, "", image_size(scene.image), "nearest" if column else "antialiased")
            if row == 0:
                panel.set_title(textwrap.fill(title, letters), fontsize=10, parse_math=False)
        panels[0].text(
            -0.04, 0.5, scene.name, transform=panels[0].transAxes, rotation=90, ha="right", va="center",
            fontsize=7, parse_math=False,
        )  # fmt: skip
    shown = np.zeros(len(class_names) + 1, bool)
    for scene in scenes:
        for each in (scene.truth, *scene.labels):
            shown[np.unique(np.minimum(each, len(class_names)))] = True
    handles = [legend_patch(colors[k], name) for k, name in enumerate(class_names) if shown[k]]
    if shown[-1]:
        handles.append(legend_patch(UNLABELLED_COLOR, "no class"))
    add_legend(figure, handles)
    return render(figure)
