"""Pictures of the curves of a training."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from rskt_seg.visualization.figures import escape_dollars, new_figure, render

Curve = Sequence[tuple[int, float]]
"""Points: iteration and value."""
_LONGEST = 40
"""Letters of a name that a legend shows."""


def draw_curves(
    curves: Mapping[str, Curve], *, title: str, scale: Literal["linear", "log"] = "linear"
) -> np.ndarray:
    """Draw curves over the iterations of a training in one panel.

    Args:
        curves: Name -> points, in the order of the legend; at least one. A single point is a dot.
        title: What they measure.
        scale: Of the values; "log" needs values above 0 and becomes linear without.

    Returns:
        Picture (H, W, 3) uint8 RGB.
    """
    figure = new_figure(5.2, 3.2)
    panel = figure.subplots()
    values = [value for points in curves.values() for _, value in points]
    colors = _colors(len(curves))
    for number, (name, points) in enumerate(curves.items()):
        x, y = zip(*points, strict=True) if points else ((), ())
        style = "-" if number < 10 else "--"
        label = escape_dollars(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}...")
        panel.plot(x, y, style, marker="o", markersize=2.5, lw=1.2, color=colors[number], label=f" {label}")
    if scale == "log" and values and min(values) > 0 and max(values) > 10 * min(values):
        panel.set_yscale("log")
    panel.set_title(escape_dollars(title), fontsize=10)
    panel.set_xlabel("iteration", fontsize=9)
    panel.set_xlim(left=0)
    panel.locator_params(axis="x", integer=True, nbins=8)
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.3)
    if len(curves) > 1:
        columns = 1 + len(curves) // 18
        panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=columns, frameon=False)
    return render(figure)


def _colors(number: int) -> list[tuple[float, ...]]:
    from matplotlib import colormaps

    cycle = colormaps["tab10"] if number <= 10 else colormaps["tab20"]
    return [tuple(cycle(place % cycle.N)) for place in range(number)]
