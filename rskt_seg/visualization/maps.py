"""Pictures of what a model did inside (cost maps, class heatmaps, contexts) and of where it errs.

Every function returns RGB pictures (H, W, 3) uint8. matplotlib draws off screen and is imported on use.
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from rskt_seg.inference.context_maps import ContextView, PatchContexts
from rskt_seg.visualization.figures import (
    NOTHING,
    color_patches,
    drawn,
    new_figure,
    panel_inches,
    reduced,
    show,
)
from rskt_seg.windows import Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_ACROSS = 8
_HEAT = {"cmap": "turbo", "interpolation": "bilinear"}
_HEAT_ALPHA = 0.6
_POSITIVE = np.array([214, 39, 40], np.uint8)
_NEGATIVE = np.array([31, 80, 210], np.uint8)
_BOXES = {"local": "#ffd400", "medium": "#00d5ff", "large": "#ff4fd8"}


def cost_picture(
    image: np.ndarray, maps: Sequence[np.ndarray], row_names: Sequence[str], names: Sequence[str]
) -> np.ndarray:
    """Cost maps as in figure 5 of the RSKT-Seg paper: kinds of cost downwards, classes across.

    Args: image (H, W, 3) uint8, drawn first; maps, for each row one (T, h, w) array; row_names, one for
    each; names, T class names. Every row has a colour scale of its own, common to its classes. Many
    classes go on in further blocks of rows below.
    """
    across = min(len(names), _ACROSS)
    grid = _Grid(image, len(maps) * math.ceil(len(names) / across), across, 1.5)
    for row, costs in enumerate(maps):
        limits = {"vmin": float(costs.min()), "vmax": float(costs.max())}
        for t, name in enumerate(names):
            block, column = divmod(t, across)
            axis = grid.cell(block * len(maps) + row, column, row_names[row], name if row == 0 else "")
            grid.fill(axis, costs[t], cmap="viridis", interpolation="bilinear", **limits)
    return drawn(grid.figure)


def heatmap_pictures(image: np.ndarray, heatmaps: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
    """Class heatmaps over the image as in figure 5 of the BiCoR-Seg paper: layers downwards, classes across.

    Args: image (H, W, 3) uint8, drawn first; heatmaps (L, T, h, w) in 0..1, all on this one colour scale;
    names, T class names. One picture for every 8 classes.
    """
    pictures = []
    backdrop = reduced(image, Image.Resampling.BILINEAR)
    for first in range(0, len(names), _ACROSS):
        page = names[first : first + _ACROSS]
        grid = _Grid(image, len(heatmaps), len(page), 2.0)
        for row, layer in enumerate(heatmaps):
            for column, name in enumerate(page):
                axis = grid.cell(row, column, f"Layer {row + 1}", name if row == 0 else "")
                grid.fill(axis, backdrop)
                heat = grid.fill(axis, layer[first + column], vmin=0, vmax=1, alpha=_HEAT_ALPHA, **_HEAT)
        grid.figure.colorbar(heat, ax=grid.axes[:, 1:], shrink=0.7, pad=0.01)
        pictures.append(drawn(grid.figure))
    return pictures


def error_picture(
    labels: np.ndarray, truth: np.ndarray, names: Sequence[str], image: np.ndarray
) -> np.ndarray:
    """False positives (red) and false negatives (blue) over the image in faded grey.

    Args: label maps (H, W) `labels` and `truth`; T class names; image (H, W, 3) uint8. Of two classes the
    second is taken for the object and has the one panel, as in figure 8 of the FCtL paper. Of more, the first
    panel shows where the classes differ, then each class that occurs has a panel of its own. An id outside
    0..T-1 is nodata: where either map has none nothing is right or wrong. Titles give the errors in shares of
    the pixels that count, the legend what the colours mean.
    """
    counts = _confusion(labels, truth, len(names))
    total = max(int(counts.sum()), 1)
    shown = [1] if len(names) == 2 else np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1)).tolist()
    overall = len(names) > 2
    across = min(len(shown) + overall, 4)
    longest = 4.5 if across == 1 else 3.2
    width, height = panel_inches(*labels.shape, longest, 1.6)
    rows = math.ceil((len(shown) + overall) / across)
    figure = new_figure(max(across * width + 0.2 * (across - 1), 3.5), rows * (height + 0.5) + 0.5)
    axes = figure.subplots(rows, across, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    small = [reduced(each, Image.Resampling.NEAREST) for each in (labels, truth)]
    panels = _error_panels(*small, names, reduced(image, Image.Resampling.BILINEAR), shown, overall)
    for axis, (t, picture) in zip(axes, panels, strict=False):
        show(axis, picture, _error_title(counts, t, names, total), labels.shape, "nearest")
    handles = color_patches(
        ["false positive", "false negative", "not scored"],
        np.stack([_POSITIVE, _NEGATIVE, NOTHING]),
        range(3),
        [" (first panel: another class)" if overall else "", "", ""],
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return drawn(figure)


def context_picture(image: np.ndarray, maps: PatchContexts) -> np.ndarray:
    """A patch and its contexts as in figures 7, 10 and 11 of the FCtL paper.

    From the top: the image with the boxes of patch and contexts, then each of these as the model saw it, the
    query (a cross) and the patch (a box) in it; the attention of the query cell; the fusion weights over the
    patch; the enhancement map over the patch for each window side. Rows that the model lacks are left out.
    """
    rows = [row for row in (_attention_row(maps), _weight_row(maps), _enhancement_row(maps)) if row.panels]
    columns = 1 + max(len(maps.contexts), *(len(row.panels) for row in rows))
    figure = new_figure(columns * 2.5 + 0.5, (1 + len(rows)) * 2.75)
    axes = figure.subplots(1 + len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    _draw_overview(axes[0, 0], image, maps)
    for axis, (name, view) in zip(axes[0, 1:], maps.contexts.items(), strict=False):
        _draw_seen(axis, view, maps, "Patch" if name == "local" else f"Context: {name}")
        _box(axis, Window(0, 0, 1, 1), _BOXES[name], 4)
    for line, row in zip(axes[1:], rows, strict=True):
        line[0].text(0.5, 0.5, row.name, transform=line[0].transAxes, ha="center", va="center")
        for axis, panel in zip(line[1:], row.panels, strict=False):
            if panel is not None:
                heat = _draw_panel(axis, panel, row.most, maps.span)
        figure.colorbar(heat, ax=line[1:], shrink=0.7, pad=0.01)
    return drawn(figure)


class _Grid:
    """Maps in rows and columns, after a first column that holds the image."""

    def __init__(self, image: np.ndarray, rows: int, columns: int, longest: float) -> None:
        self.size = image.shape[:2]
        width, height = panel_inches(*self.size, longest, 1.2)
        self.letters = int(width / 0.08)
        self.figure = new_figure((columns + 1) * width + 0.6, rows * (height + 0.25))
        self.axes = self.figure.subplots(rows, columns + 1, squeeze=False)
        for axis in self.axes.flat:
            axis.set_axis_off()
        picture = reduced(image, Image.Resampling.BILINEAR)
        show(self.axes[0, 0], picture, "Image", self.size, "antialiased")

    def cell(self, row: int, column: int, row_name: str, title: str) -> "Axes":
        """The axes of a map, with its title; those of the first column with the name of the row."""
        axis = self.axes[row, column + 1]
        if title:
            text = textwrap.fill(title, self.letters, break_long_words=False)
            axis.set_title(text, fontsize=8, parse_math=False)
        if column == 0:
            axis.text(-0.06, 0.5, row_name, transform=axis.transAxes, rotation=90, ha="right", va="center")
        return axis

    def fill(self, axis: "Axes", values: np.ndarray, **style: object) -> "AxesImage":
        """Draw a map or picture of the whole image."""
        height, width = self.size
        return axis.imshow(values, extent=(0, width, height, 0), **style)


def _confusion(labels: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """(T, T) pixels by truth and prediction, of those where both maps have a class."""
    counts = np.zeros(classes * classes, np.int64)
    for predicted, true in zip(labels, truth, strict=True):
        scored = (predicted < classes) & (true < classes)
        pairs = true[scored].astype(np.int64) * classes + predicted[scored]
        counts += np.bincount(pairs, minlength=classes * classes)
    return counts.reshape(classes, classes)


def _error_title(counts: np.ndarray, t: int | None, names: Sequence[str], total: int) -> str:
    if t is None:
        return f"All classes: {(total - np.trace(counts)) / total:.1%} wrong"
    right = counts[t, t]
    positive, negative = (counts[:, t].sum() - right) / total, (counts[t].sum() - right) / total
    return f"{names[t]}: {positive:.1%} FP, {negative:.1%} FN".replace("$", r"\$")


def _error_panels(
    labels: np.ndarray,
    truth: np.ndarray,
    names: Sequence[str],
    image: np.ndarray,
    shown: Sequence[int],
    overall: bool,
) -> Iterator[tuple[int | None, np.ndarray]]:
    grey = np.asarray(Image.fromarray(image).convert("L"), dtype=np.float32)
    faded = np.repeat((150 + grey * (105 / 255)).astype(np.uint8)[:, :, None], 3, axis=2)
    scored = (truth < len(names)) & (labels < len(names))
    faded[~scored] = NOTHING
    if overall:
        picture = faded.copy()
        picture[scored & (labels != truth)] = _POSITIVE
        yield None, picture
    for t in shown:
        picture = faded.copy()
        picture[scored & (labels == t) & (truth != t)] = _POSITIVE
        picture[scored & (labels != t) & (truth == t)] = _NEGATIVE
        yield t, picture


def _draw_overview(axis: "Axes", image: np.ndarray, maps: PatchContexts) -> None:
    show(axis, reduced(image, Image.Resampling.BILINEAR), "Image", image.shape[:2], "antialiased")
    for name, view in maps.contexts.items():
        _box(axis, view.window, _BOXES[name], 2)
    _cross(axis, maps.point[1] + 0.5, maps.point[0] + 0.5)
    _limit(axis, *image.shape[:2])


def _draw_seen(axis: "Axes", view: ContextView, maps: PatchContexts, title: str) -> None:
    """A context in shares of its sides, with the patch and the query in it."""
    show(axis, view.pixels, title, (1, 1), "antialiased")
    window, patch = view.window, maps.patch
    if window != patch:
        top, left = (patch.top - window.top) / window.height, (patch.left - window.left) / window.width
        inner = Window(top, left, patch.height / window.height, patch.width / window.width)
        _box(axis, inner, _BOXES["local"], 1.5)
    row, column = maps.point
    _cross(axis, (column + 0.5 - window.left) / window.width, (row + 0.5 - window.top) / window.height)
    _limit(axis, 1, 1)


class _Panel(NamedTuple):
    """A map (h, w) to draw over the pixels that it tells of."""

    pixels: np.ndarray
    values: np.ndarray
    title: str


class _Row(NamedTuple):
    """Panels on one colour scale from 0 to `most`; None leaves a place empty."""

    name: str
    panels: list[_Panel | None]

    @property
    def most(self) -> float:
        return max(float(panel.values.max()) for panel in self.panels if panel is not None)


def _attention_row(maps: PatchContexts) -> _Row:
    panels = [
        None
        if view.attention is None
        else _Panel(view.pixels, view.attention, f"most {view.attention.max():.3g}")
        for view in maps.contexts.values()
    ]
    return _Row("Attention of the\nquery cell to\neach context", panels if any(panels) else [])


def _weight_row(maps: PatchContexts) -> _Row:
    pixels = maps.contexts["local"].pixels
    panels = [
        None if view.weight is None else _Panel(pixels, view.weight, f"mean {view.weight.mean():.3f}")
        for view in maps.contexts.values()
    ]
    return _Row("Weight of each\ncontext in the\nfusion, over\nthe patch", panels if any(panels) else [])


def _enhancement_row(maps: PatchContexts) -> _Row:
    pixels = maps.contexts["local"].pixels
    panels = [_Panel(pixels, each, f"window {side} x {side}") for side, each in maps.enhancement.items()]
    return _Row("Enhancement |E|\nby size of its\nwindow, over\nthe patch", panels)


def _draw_panel(axis: "Axes", panel: _Panel, most: float, span: tuple[float, float]) -> "AxesImage":
    show(axis, panel.pixels, panel.title, (1, 1), "antialiased")
    first, last = span
    extent = (first, last, last, first)
    heat = axis.imshow(panel.values, extent=extent, vmin=0, vmax=most, alpha=_HEAT_ALPHA, **_HEAT)
    _limit(axis, 1, 1)
    return heat


def _box(axis: "Axes", window: Window, color: str, width: float) -> None:
    from matplotlib.patches import Rectangle

    corner = (window.left, window.top)
    axis.add_patch(Rectangle(corner, window.width, window.height, fill=False, edgecolor=color, lw=width))


def _cross(axis: "Axes", column: float, row: float) -> None:
    axis.plot([column], [row], marker="+", color="white", markersize=11, markeredgewidth=3)
    axis.plot([column], [row], marker="+", color="black", markersize=9, markeredgewidth=1)


def _limit(axis: "Axes", height: float, width: float) -> None:
    """Show the image alone, whatever was drawn beyond it."""
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
