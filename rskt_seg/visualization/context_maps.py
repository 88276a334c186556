"""Pictures of what FCtL's contexts did for one patch: attention, fusion weights, enhancement."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rskt_seg.inference.context_maps import PatchContext, PatchContexts
from rskt_seg.visualization.figures import (
    add_panels,
    draw_heat,
    fill_panel,
    image_size,
    new_figure,
    render,
    shrink_image,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BOX_COLORS = {"local": "#ffd400", "medium": "#00d5ff", "large": "#ff4fd8"}
_UNIT = (1, 1)
"""Size of the axes of a patch or context, which are in shares of its sides."""


class _Heat(NamedTuple):
    """A map (h, w) and the pixels (H, W, 3) uint8 that it is drawn over."""

    pixels: np.ndarray
    values: np.ndarray
    title: str


class _Row(NamedTuple):
    """Heat maps by column, on one colour scale from 0 to their highest value; other columns stay empty."""

    name: str
    heats: dict[int, _Heat]


def draw_context_maps(image: np.ndarray, maps: PatchContexts) -> np.ndarray:
    """Draw a patch and its contexts as in figures 7, 10 and 11 of the FCtL paper.

    From the top: the image with the boxes of patch and contexts, then each of these as the model saw it, with
    the query (a cross) and the patch (a box) in it; the attention of the query cell; the fusion weights over
    the patch; the enhancement over the patch for each window side. Rows that the model lacks are left out.

    Args:
        image: (H, W, 3) uint8 RGB.
        maps: What `rskt_seg.inference.context_maps.patch_contexts` returned for this image.

    Returns:
        Picture (H, W, 3) uint8 RGB.
    """
    rows = _heat_rows(maps)
    columns = 1 + max(len(maps.contexts), *(1 + max(row.heats) for row in rows))
    figure = new_figure(columns * 2.5 + 0.5, (1 + len(rows)) * 2.75)
    panels = add_panels(figure, 1 + len(rows), columns)
    _draw_overview(panels[0][0], image, maps)
    for panel, (name, context) in zip(panels[0][1:], maps.contexts.items(), strict=False):
        _draw_context(panel, context, maps, "Patch" if name == "local" else f"Context: {name}")
        _draw_box(panel, (0, 0), _UNIT, _BOX_COLORS[name], 4)
    for (first, *others), row in zip(panels[1:], rows, strict=True):
        first.text(0.5, 0.5, row.name, transform=first.transAxes, ha="center", va="center")
        highest = max(float(heat.values.max()) for heat in row.heats.values())
        for column, heat in row.heats.items():
            # The cells of a map cover `span` of both axes, beyond the pixels where it exceeds 0..1.
            panel, (start, end) = others[column], maps.span
            fill_panel(panel, heat.pixels, heat.title, _UNIT, "antialiased")
            drawn = draw_heat(panel, heat.values, (start, end, end, start), highest)
            _clip_panel(panel, _UNIT)
        figure.colorbar(drawn, ax=others, shrink=0.7, pad=0.01)
    return render(figure)


def _heat_rows(maps: PatchContexts) -> list[_Row]:
    """Return the rows of heat maps that the model has: attention, weights, enhancement."""
    patch = maps.contexts["local"].pixels
    attention, weights = {}, {}
    for column, context in enumerate(maps.contexts.values()):
        if context.attention is not None:
            title = f"most {context.attention.max():.3g}"
            attention[column] = _Heat(context.pixels, context.attention, title)
        if context.weight is not None:
            weights[column] = _Heat(patch, context.weight, f"mean {context.weight.mean():.3f}")
    enhancement = {
        column: _Heat(patch, values, f"window {side} x {side}")
        for column, (side, values) in enumerate(maps.enhancement.items())
    }
    rows = [
        _Row("Attention of the\nquery cell to\neach context", attention),
        _Row("Weight of each\ncontext in the\nfusion, over\nthe patch", weights),
        _Row("Enhancement |E|\nby size of its\nwindow, over\nthe patch", enhancement),
    ]
    return [row for row in rows if row.heats]


def _draw_overview(panel: "Axes", image: np.ndarray, maps: PatchContexts) -> None:
    """Draw the image with the boxes of all contexts and the query."""
    fill_panel(panel, shrink_image(image), "Image", image_size(image), "antialiased")
    for name, context in maps.contexts.items():
        window = context.window
        _draw_box(panel, (window.top, window.left), (window.height, window.width), _BOX_COLORS[name], 2)
    _draw_cross(panel, maps.point[0] + 0.5, maps.point[1] + 0.5)
    _clip_panel(panel, image_size(image))


def _draw_context(panel: "Axes", context: PatchContext, maps: PatchContexts, title: str) -> None:
    """Draw a context as the model saw it, with the patch and the query in it."""
    fill_panel(panel, context.pixels, title, _UNIT, "antialiased")
    window, patch = context.window, maps.patch
    if window != patch:
        corner = (patch.top - window.top) / window.height, (patch.left - window.left) / window.width
        size = patch.height / window.height, patch.width / window.width
        _draw_box(panel, corner, size, _BOX_COLORS["local"], 1.5)
    row, column = maps.point
    _draw_cross(panel, (row + 0.5 - window.top) / window.height, (column + 0.5 - window.left) / window.width)
    _clip_panel(panel, _UNIT)


def _draw_box(
    panel: "Axes", corner: tuple[float, float], size: tuple[float, float], color: str, width: float
) -> None:
    """Draw a rectangle of `size` (height, width) from its upper left `corner` (row, column)."""
    from matplotlib.patches import Rectangle

    place, (height, length) = (corner[1], corner[0]), size
    panel.add_patch(Rectangle(place, length, height, fill=False, edgecolor=color, lw=width))


def _draw_cross(panel: "Axes", row: float, column: float) -> None:
    panel.plot([column], [row], marker="+", color="white", markersize=11, markeredgewidth=3)
    panel.plot([column], [row], marker="+", color="black", markersize=9, markeredgewidth=1)


def _clip_panel(panel: "Axes", size: tuple[int, int]) -> None:
    """Limit the panel to its image of `size` (H, W), whatever was drawn beyond it."""
    panel.set_xlim(0, size[1])
    panel.set_ylim(size[0], 0)
