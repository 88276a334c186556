"""A look at a whole map in one picture, however large the map and however many its classes."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from rskt_seg.legend import Legend, LegendEntry
from rskt_seg.visualization.figures import add_legend, image_size, legend_patch, new_figure, render
from rskt_seg.visualization.labels import colorize, draw_overlay
from rskt_seg.wording import shortened

MOST_PIXELS = 2000
"""Longest side of a quick-look."""
_MOST_LISTED = 40
_ROWS = 256
_DOTS, _LEAST_INCHES = 150, 5.0
_WHITE = np.array([255, 255, 255], np.uint8)


class Present(NamedTuple):
    """A class that a map has.

    Attributes:
        entry: The class.
        share: Share of the pixels that have a class, 0..1.
    """

    entry: LegendEntry
    share: float


def present_classes(labels: np.ndarray, legend: Legend) -> list[Present]:
    """Return the classes that a map has, the largest first.

    Args:
        labels: (H, W) uint8 or uint16; values that are no id of the legend are passed over.
        legend: The classes.

    Returns:
        Those that have pixels; of equals the first in the legend comes first.
    """
    counts = np.zeros(2**16, np.int64)
    for start in range(0, len(labels), _ROWS):  # `bincount` takes 8 bytes a pixel
        counts += np.bincount(labels[start : start + _ROWS].ravel(), minlength=2**16)
    own = counts[[entry.id for entry in legend.entries]]
    order = np.argsort(-own, kind="stable")
    return [Present(legend.entries[k], own[k] / own.sum()) for k in order.tolist() if own[k]]


def draw_quick_look(
    image: np.ndarray, labels: np.ndarray, legend: Legend, *, background: int | None = None
) -> np.ndarray:
    """Draw a map over its image, above a legend of its largest classes with their shares.

    Args:
        image: (H, W, 3) uint8 RGB; of a large scene, every so many pixels.
        labels: (H, W) uint8 or uint16 ids, of the same pixels. Where a value is no id of the legend, the
            image is shown alone.
        legend: The classes.
        background: Id of the class that is not tinted; None if all are.

    Returns:
        Picture (h, w, 3) uint8 RGB, at most 2,000 px high and wide. Beyond 40 classes, the legend ends with
        the number of the others.
    """
    key = _draw_key(labels, legend, min(image.shape[1], MOST_PIXELS))
    height, width = image_size(image)
    factor = min(1.0, MOST_PIXELS / width, (MOST_PIXELS - len(key)) / height)
    size = max(1, int(width * factor)), max(1, int(height * factor))
    overlay = draw_reduced(labels, legend, size, image=image, background=background)
    picture = np.full((len(overlay) + len(key), max(size[0], key.shape[1]), 3), _WHITE)
    for top, part in ((0, overlay), (len(overlay), key)):
        left = (picture.shape[1] - part.shape[1]) // 2
        picture[top : top + len(part), left : left + part.shape[1]] = part
    return picture


def draw_reduced(
    labels: np.ndarray,
    legend: Legend,
    size: tuple[int, int],
    *,
    image: np.ndarray | None = None,
    alpha: float = 0.45,
    background: int | None = None,
) -> np.ndarray:
    """Draw a map in another size.

    Args:
        labels: (H, W) uint8 or uint16 ids.
        legend: The classes.
        size: (width, height) of the picture, px.
        image: (H, W, 3) uint8 RGB below the map, shown alone where a value is no id of the legend; None: the
            map alone, with light grey there.
        alpha: Share of the class colours over the image, 0..1.
        background: Id of the class that is not tinted; None if all are.

    Returns:
        Picture (height, width, 3) uint8 RGB.
    """
    positions = legend.positions(np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)))
    if image is None:
        return colorize(positions, legend.colors)
    below = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    untinted = None if background is None else int(legend.positions(np.array(background)))
    return draw_overlay(below, positions, legend.colors, alpha=alpha, background=untinted)


def _draw_key(labels: np.ndarray, legend: Legend, width: int) -> np.ndarray:
    """Draw the legend of a map, about as wide as its picture if that is not narrow."""
    found = present_classes(labels, legend)
    handles = [
        legend_patch(np.array(entry.color), f"{shortened(entry.name)}  {share:.1%}")
        for entry, share in found[:_MOST_LISTED]
    ]
    if len(found) > _MOST_LISTED:
        handles.append(legend_patch(_WHITE, f"and {len(found) - _MOST_LISTED} more"))
    if not handles:
        handles = [legend_patch(_WHITE, "no class")]
    figure = new_figure(max(width / _DOTS, _LEAST_INCHES), 1.0)
    add_legend(figure, handles)
    return render(figure)
