"""Pictures of label maps: overlays, label maps beside image and truth, legends."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rskt_seg.visualization.errors import WRONG_COLOR, fade_image, pixel_accuracy, scored_pixels
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

if TYPE_CHECKING:
    from matplotlib.patches import Patch

_BAND_ROWS = 256
_PANEL_INCHES = 4.5
_LEAST_INCHES = 1.6
_MAX_LISTED = 40


def colorize(labels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Return a label map in the colours of its classes.

    Args:
        labels: (H, W) class ids.
        colors: (K, 3) uint8 RGB.

    Returns:
        (H, W, 3) uint8 RGB; ids from K on are light grey.
    """
    table = np.concatenate([colors.astype(np.uint8), UNLABELLED_COLOR[None]])
    return table[np.minimum(labels, len(colors))]


def draw_overlay(
    image: np.ndarray,
    labels: np.ndarray,
    colors: np.ndarray,
    *,
    alpha: float = 0.45,
    background: int | None = None,
) -> np.ndarray:
    """Tint an image by class and draw the borders between classes in full colour.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) class ids. Pixels whose id has no colour show the image alone.
        colors: (K, 3) uint8 RGB.
        alpha: Share of the class colour, 0..1.
        background: Id of the background class, which is left untinted too.

    Returns:
        Picture (H, W, 3) uint8 RGB.
    """
    picture = np.empty_like(image)
    borders = _borders(labels, background)
    tinted = np.arange(len(colors) + 1) < len(colors)
    if background is not None:
        tinted[background] = False
    for start in range(0, len(labels), _BAND_ROWS):  # a band at a time, for float copies of a large image
        rows = slice(start, start + _BAND_ROWS)
        share = np.where(borders[rows], np.float32(1), np.float32(alpha))
        share *= tinted[np.minimum(labels[rows], len(colors))]
        difference = colorize(labels[rows], colors).astype(np.float32)
        difference -= image[rows]
        difference *= share[:, :, None]
        picture[rows] = np.rint(difference + image[rows])
    return picture


def draw_legend(class_names: Sequence[str], colors: np.ndarray) -> np.ndarray:
    """Draw the legend of all classes, alone.

    Args:
        class_names: K names.
        colors: (K, 3) uint8 RGB.

    Returns:
        Picture (H, W, 3) uint8 RGB.
    """
    figure = new_figure(3.0, 0.3 * len(class_names))
    handles = [legend_patch(colors[k], name) for k, name in enumerate(class_names)]
    figure.legend(handles=handles, loc="center", frameon=False, ncols=max(1, len(class_names) // 30))
    return render(figure)


def draw_labels(
    image: np.ndarray | None,
    labels: np.ndarray,
    class_names: Sequence[str],
    colors: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    unlabelled: str = "not classified",
) -> np.ndarray:
    """Draw a label map beside its image and truth, over a legend with the share of each class.

    With `truth` two panels more show it and the pixels where it differs from `labels`; where either has no
    class, a pixel is neither right nor wrong. Beyond 40 classes the legend lists only those that occur.

    Args:
        image: (H, W, 3) uint8 RGB for the first panel, None to leave it out.
        labels: (H, W) class ids.
        class_names: K names.
        colors: (K, 3) uint8 RGB.
        truth: (H, W) class ids.
        unlabelled: What the legend calls pixels of no class.

    Returns:
        Picture (H, W, 3) uint8 RGB.
    """
    size, small = image_size(labels), shrink_labels(labels)
    backdrop = None if image is None else shrink_image(image)
    pictures = [("Prediction", colorize(small, colors))]
    if backdrop is not None:
        pictures.insert(0, ("Image", backdrop))
    if truth is not None:
        small_truth = shrink_labels(truth)
        accuracy = pixel_accuracy(labels, truth, len(class_names))
        errors = _mark_errors(backdrop, small, small_truth, len(class_names))
        pictures.append(("Ground truth", colorize(small_truth, colors)))
        pictures.append((f"Errors (pixel accuracy {accuracy:.1%})", errors))
    width, height = panel_inches(size, _PANEL_INCHES, _LEAST_INCHES)
    figure = new_figure(max(len(pictures) * width + 0.2 * (len(pictures) - 1), 3.5), height + 0.9)
    (panels,) = add_panels(figure, 1, len(pictures))
    for panel, (title, picture) in zip(panels, pictures, strict=True):
        fill_panel(panel, picture, title, size, "antialiased" if picture is backdrop else "nearest")
    handles = _legend_handles([labels] if truth is None else [labels, truth], class_names, colors, unlabelled)
    add_legend(figure, handles)
    return render(figure)


def _mark_errors(
    image: np.ndarray | None, labels: np.ndarray, truth: np.ndarray, num_classes: int
) -> np.ndarray:
    """Paint pixels where labels and truth differ red, over the faded image or white."""
    picture = np.full((*labels.shape, 3), 255, np.uint8) if image is None else fade_image(image)
    scored = scored_pixels(labels, truth, num_classes)
    picture[~scored] = UNLABELLED_COLOR
    picture[scored & (labels != truth)] = WRONG_COLOR
    return picture


def _legend_handles(
    maps: Sequence[np.ndarray], class_names: Sequence[str], colors: np.ndarray, unlabelled: str
) -> "list[Patch]":
    """Return legend handles with each class's share in the first of the label maps."""
    number = len(class_names)
    counts = np.stack([np.bincount(np.minimum(m, number).ravel(), minlength=number + 1) for m in maps])
    shares = counts[0, :-1] / max(counts[0, :-1].sum(), 1)
    listed = range(number) if number <= _MAX_LISTED else np.flatnonzero(counts.sum(axis=0)[:-1]).tolist()
    handles = [legend_patch(colors[k], f"{class_names[k]}  {shares[k]:.1%}") for k in listed]
    if counts[:, -1].any():
        handles.append(legend_patch(UNLABELLED_COLOR, unlabelled))
    return handles


def _borders(labels: np.ndarray, background: int | None) -> np.ndarray:
    """Return (H, W) bool: pixels whose right or lower neighbour has another label.

    Foreground pixels beside the background count on all four sides, for the background shows no border.
    """
    borders = np.zeros(labels.shape, bool)
    borders[:-1] |= labels[:-1] != labels[1:]
    borders[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    if background is not None:
        borders[1:] |= labels[:-1] == background
        borders[:, 1:] |= labels[:, :-1] == background
    return borders
