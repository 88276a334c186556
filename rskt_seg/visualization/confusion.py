"""Pictures of confusion matrices."""

from collections.abc import Sequence

import numpy as np

from rskt_seg.visualization.figures import escape_dollars, new_figure, render

_MOST_NUMBERS = 20
"""Classes up to which the cells have numbers."""
_LONGEST = 24
"""Letters of a name that an axis shows."""


def draw_confusion(counts: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Draw what the pixels of each class were taken for, as shares of its pixels.

    Args:
        counts: (K + 1, K) integers, predicted by labelled, as `rskt_seg.metrics.confusion.ConfusionMatrix`
            counts them: the last row is what no class was given to.
        class_names: K names.

    Returns:
        Picture (H, W, 3) uint8 RGB: a row for each class of the truth with its pixels in percent, which is
        empty if the truth has none, and a column for each prediction; a last column for pixels without a
        class if there are any.
    """
    columns = [*class_names, "no class"] if counts[-1].any() else list(class_names)
    truth = counts.sum(axis=0).astype(np.float64)[:, None]
    blank = np.full((len(class_names), len(columns)), np.nan)
    shares = np.divide(100 * counts.T[:, : len(columns)], truth, out=blank, where=truth > 0)
    side = max(3.0, 0.36 * len(columns) + 1.6)
    figure = new_figure(side + 1.0, side)
    panel = figure.subplots()
    drawn = panel.imshow(np.ma.masked_invalid(shares), cmap="Blues", vmin=0, vmax=100, aspect="auto")
    panel.set_facecolor("0.9")
    panel.set_xticks(range(len(columns)), [_tick(name) for name in columns], rotation=90, fontsize=7)
    panel.set_yticks(range(len(class_names)), [_tick(name) for name in class_names], fontsize=7)
    panel.set_xlabel("Prediction")
    panel.set_ylabel("Ground truth")
    if len(class_names) <= _MOST_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.5:
                color = "white" if share > 55 else "black"
                panel.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=6, color=color)
    figure.colorbar(drawn, label="% of the pixels of the class", shrink=0.8)
    return render(figure)


def _tick(name: str) -> str:
    return escape_dollars(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}...")
