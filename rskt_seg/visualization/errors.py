"""Pictures of where a label map is wrong: false positives and false negatives of every class."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from rskt_seg.visualization.figures import (
    UNLABELLED_COLOR,
    add_panels,
    escape_dollars,
    fill_panel,
    image_size,
    legend_patch,
    new_figure,
    panel_inches,
    render,
    shrink_image,
    shrink_labels,
)

WRONG_COLOR = np.array([214, 39, 40], np.uint8)
"""Red: wrong pixels, and false positives of a class."""
_MISSED_COLOR = np.array([31, 80, 210], np.uint8)
_MAX_COLUMNS = 4


def draw_errors(
    image: np.ndarray, labels: np.ndarray, truth: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Draw false positives (red) and false negatives (blue) over the image in faded grey.

    Of two classes the second is taken for the object and has the only panel, as in figure 8 of the FCtL
    paper. Of more, the first panel marks every wrong pixel, and each class that occurs has a panel after it.
    Titles give errors as shares of the scored pixels; where either map has no class, a pixel is not scored.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) class ids.
        truth: (H, W) class ids.
        class_names: K names.

    Returns:
        Picture (H, W, 3) uint8 RGB.
    """
    counts = _confusion(labels, truth, len(class_names))
    overall = len(class_names) > 2
    occurring = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1)).tolist()
    shown: list[int | None] = [1] if len(class_names) == 2 else [*([None] if overall else []), *occurring]
    columns = min(len(shown), _MAX_COLUMNS)
    rows = math.ceil(len(shown) / columns)
    size = image_size(labels)
    width, height = panel_inches(size, 4.5 if columns == 1 else 3.2, 1.6)
    figure = new_figure(max(columns * width + 0.2 * (columns - 1), 3.5), rows * (height + 0.5) + 0.5)
    panels = [panel for row in add_panels(figure, rows, columns) for panel in row]
    small, small_truth = shrink_labels(labels), shrink_labels(truth)
    faded = fade_image(shrink_image(image))
    scored = scored_pixels(small, small_truth, len(class_names))
    faded[~scored] = UNLABELLED_COLOR
    for panel, k in zip(panels, shown, strict=False):
        picture = faded.copy()
        if k is None:
            picture[scored & (small != small_truth)] = WRONG_COLOR
        else:
            picture[scored & (small == k) & (small_truth != k)] = WRONG_COLOR
            picture[scored & (small != k) & (small_truth == k)] = _MISSED_COLOR
        fill_panel(panel, picture, _title(counts, k, class_names), size, "nearest")
    handles = [
        legend_patch(WRONG_COLOR, "false positive" + (" (first panel: another class)" if overall else "")),
        legend_patch(_MISSED_COLOR, "false negative"),
        legend_patch(UNLABELLED_COLOR, "not scored"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return render(figure)


def scored_pixels(labels: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """Find the pixels that have a class in both maps.

    Args:
        labels: (H, W) class ids.
        truth: (H, W) class ids.
        num_classes: K; any other id is no class.

    Returns:
        (H, W) bool.
    """
    return (truth < num_classes) & (labels < num_classes)


def pixel_accuracy(labels: np.ndarray, truth: np.ndarray, num_classes: int) -> float:
    """Return the share of scored pixels that are right.

    Args:
        labels: (H, W) class ids.
        truth: (H, W) class ids.
        num_classes: K; any other id is no class.

    Returns:
        0..1, or NaN if no pixel is scored.
    """
    scored = scored_pixels(labels, truth, num_classes)
    return float((labels == truth)[scored].mean()) if scored.any() else float("nan")


def fade_image(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 in light grey, so that colours stand out over it."""
    grey = np.asarray(Image.fromarray(image).convert("L"), dtype=np.float32)
    return np.repeat((150 + grey * (105 / 255)).astype(np.uint8)[:, :, None], 3, axis=2)


def _confusion(labels: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """Count scored pixels by truth (rows) and label (columns): (K, K) int64."""
    counts = np.zeros(num_classes * num_classes, np.int64)
    for predicted, true in zip(labels, truth, strict=True):  # a row at a time, for int64 copies
        scored = scored_pixels(predicted, true, num_classes)
        pairs = true[scored].astype(np.int64) * num_classes + predicted[scored]
        counts += np.bincount(pairs, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes)


def _title(counts: np.ndarray, k: int | None, class_names: Sequence[str]) -> str:
    total = max(int(counts.sum()), 1)
    if k is None:
        return f"All classes: {(total - np.trace(counts)) / total:.1%} wrong"
    right = counts[k, k]
    positive, negative = (counts[:, k].sum() - right) / total, (counts[k].sum() - right) / total
    return escape_dollars(f"{class_names[k]}: {positive:.1%} FP, {negative:.1%} FN")
