"""Pictures of results: overlays, label maps with a legend, comparisons with a truth.

Every function returns an RGB picture (H, W, 3) uint8. matplotlib draws off screen and is imported on use.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rskt_seg.visualization.figures import (
    NOTHING,
    color_patches,
    drawn,
    new_figure,
    panel_inches,
    reduced,
    show,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

_WRONG = np.array([214, 39, 40], np.uint8)
_ROWS = 256
_PANEL_INCHES = 4.5
_LEAST_INCHES = 1.6
_LISTED_CLASSES = 40


def colorize(labels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Label map (H, W) as a picture; ids without a colour (nodata) become light grey."""
    table = np.concatenate([colors.astype(np.uint8), NOTHING[None]])
    return table[np.minimum(labels, len(colors))]


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    colors: np.ndarray,
    alpha: float = 0.45,
    background: int | None = None,
) -> np.ndarray:
    """The image (H, W, 3) tinted by class, with class borders in full colour.

    Args: labels (H, W); colors (T, 3) uint8; alpha 0..1, the share of the class colour. Pixels whose id
    has no colour (nodata) or is that of the `background` show the image alone.
    """
    tinted = np.empty_like(image)
    borders = _borders(labels, background)
    tints = np.arange(len(colors) + 1) < len(colors)
    if background is not None:
        tints[background] = False
    for start in range(0, len(labels), _ROWS):
        rows = slice(start, start + _ROWS)
        share = np.where(borders[rows], np.float32(1), np.float32(alpha))
        share *= tints[np.minimum(labels[rows], len(colors))]
        painted = colorize(labels[rows], colors).astype(np.float32)
        painted -= image[rows]
        painted *= share[:, :, None]
        tinted[rows] = np.rint(painted + image[rows])
    return tinted


def legend(names: Sequence[str], colors: np.ndarray) -> np.ndarray:
    """The colours of all classes with their names, alone."""
    figure = new_figure(3.0, 0.3 * len(names))
    handles = color_patches(names, colors, range(len(names)), [""] * len(names))
    figure.legend(handles=handles, loc="center", frameon=False, ncols=max(1, len(names) // 30))
    return drawn(figure)


def label_picture(
    labels: np.ndarray,
    colors: np.ndarray,
    names: Sequence[str],
    *,
    image: np.ndarray | None = None,
    truth: np.ndarray | None = None,
) -> np.ndarray:
    """Panels side by side over a legend that gives the share of each class.

    Always the label map (H, W) `labels`; before it `image` (H, W, 3) uint8 if given; after it the label
    map `truth` (H, W) if given, and where the two differ. An id outside 0..T-1 is nodata: it has no
    class, and where either map has none nothing is right or wrong. Beyond 40 classes the legend lists
    only those that occur.
    """
    shown = [labels] if truth is None else [labels, truth]
    small = [reduced(array, Image.Resampling.NEAREST) for array in shown]
    panels = [("Prediction", colorize(small[0], colors))]
    if image is not None:
        image = reduced(image, Image.Resampling.BILINEAR)
        panels.insert(0, ("Image", image))
    if truth is not None:
        accuracy = _accuracy(labels, truth, len(names))
        panels.append(("Ground truth", colorize(small[1], colors)))
        panels.append((f"Errors (pixel accuracy {accuracy:.1%})", _errors(*small, len(names), image)))
    figure, axes = _row_of_panels(len(panels), labels.shape)
    for axis, (title, picture) in zip(axes, panels, strict=True):
        show(axis, picture, title, labels.shape, "antialiased" if picture is image else "nearest")
    handles = _legend_handles(shown, colors, names)
    widest = max((len(handle.get_label()) for handle in handles), default=1)
    columns = max(1, int(figure.get_figwidth() / (0.5 + 0.085 * widest)))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        frameon=False,
        fontsize=9,
    )
    return drawn(figure)


def _accuracy(labels: np.ndarray, truth: np.ndarray, classes: int) -> float:
    scored = (truth < classes) & (labels < classes)
    return float((labels == truth)[scored].mean()) if scored.any() else float("nan")


def _errors(labels: np.ndarray, truth: np.ndarray, classes: int, image: np.ndarray | None) -> np.ndarray:
    """Where prediction and truth differ, over the image in faded grey."""
    picture = np.full((*labels.shape, 3), 255, np.uint8)
    if image is not None:
        grey = np.asarray(Image.fromarray(image).convert("L"), dtype=np.float32)
        picture[:] = (150 + grey * (105 / 255))[:, :, None]
    scored = (truth < classes) & (labels < classes)
    picture[~scored] = NOTHING
    picture[scored & (labels != truth)] = _WRONG
    return picture


def _legend_handles(shown: list[np.ndarray], colors: np.ndarray, names: Sequence[str]) -> "list[Patch]":
    counts = [np.bincount(np.minimum(m, len(names)).ravel(), minlength=len(names) + 1) for m in shown]
    share = counts[0][:-1] / max(counts[0][:-1].sum(), 1)
    listed = range(len(names))
    if len(names) > _LISTED_CLASSES:
        listed = np.flatnonzero(sum(counts)[:-1])
    handles = color_patches(names, colors, listed, [f"  {part:.1%}" for part in share])
    if any(count[-1] for count in counts):
        handles += color_patches(["not classified"], NOTHING[None], [0], [""])
    return handles


def _row_of_panels(number: int, shape: tuple[int, ...]) -> "tuple[Figure, Sequence[Axes]]":
    width, height = panel_inches(*shape, _PANEL_INCHES, _LEAST_INCHES)
    figure = new_figure(max(number * width + 0.2 * (number - 1), 3.5), height + 0.9)
    return figure, figure.subplots(1, number, squeeze=False)[0]


def _borders(labels: np.ndarray, background: int | None) -> np.ndarray:
    """(H, W) bool: pixels whose right or lower neighbour has another label, or any the background's."""
    borders = np.zeros(labels.shape, bool)
    borders[:-1] |= labels[:-1] != labels[1:]
    borders[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    if background is not None:  # which shows no border of its own
        borders[1:] |= labels[:-1] == background
        borders[:, 1:] |= labels[:, :-1] == background
    return borders
