"""Pictures of results: overlays, label maps with a legend, comparisons with a truth, cost maps.

Every function returns an RGB picture (H, W, 3) uint8. matplotlib draws off screen and is imported on use.
"""

import io
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

_NOTHING = np.array([225, 225, 225], np.uint8)
_WRONG = np.array([214, 39, 40], np.uint8)
_PANEL_PIXELS = 1000
_ROWS = 256
_PANEL_INCHES = 4.5
_LEAST_INCHES = 1.6
_DPI = 150
_LISTED_CLASSES = 40


def colorize(labels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Label map (H, W) as a picture; ids without a colour (nodata) become light grey."""
    table = np.concatenate([colors.astype(np.uint8), _NOTHING[None]])
    return table[np.minimum(labels, len(colors))]


def overlay(image: np.ndarray, labels: np.ndarray, colors: np.ndarray, alpha: float = 0.45) -> np.ndarray:
    """The image (H, W, 3) tinted by class, with class borders in full colour.

    Args: labels (H, W); colors (T, 3) uint8; alpha 0..1, the share of the class colour. Pixels whose id
    has no colour (nodata) show the image alone.
    """
    tinted = np.empty_like(image)
    borders = _borders(labels)
    for start in range(0, len(labels), _ROWS):
        rows = slice(start, start + _ROWS)
        share = np.where(borders[rows], np.float32(1), np.float32(alpha)) * (labels[rows] < len(colors))
        painted = colorize(labels[rows], colors).astype(np.float32)
        painted -= image[rows]
        painted *= share[:, :, None]
        tinted[rows] = np.rint(painted + image[rows])
    return tinted


def legend(names: Sequence[str], colors: np.ndarray) -> np.ndarray:
    """The colours of all classes with their names, alone."""
    figure = _figure(3.0, 0.3 * len(names))
    handles = _patches(names, colors, range(len(names)), [""] * len(names))
    figure.legend(handles=handles, loc="center", frameon=False, ncols=max(1, len(names) // 30))
    return _drawn(figure)


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
    small = [_reduced(array, Image.Resampling.NEAREST) for array in shown]
    panels = [("Prediction", colorize(small[0], colors))]
    if image is not None:
        image = _reduced(image, Image.Resampling.BILINEAR)
        panels.insert(0, ("Image", image))
    if truth is not None:
        accuracy = _accuracy(labels, truth, len(names))
        panels.append(("Ground truth", colorize(small[1], colors)))
        panels.append((f"Errors (pixel accuracy {accuracy:.1%})", _errors(*small, len(names), image)))
    figure, axes = _row_of_panels(len(panels), labels.shape)
    for axis, (title, picture) in zip(axes, panels, strict=True):
        _show(axis, picture, title, labels.shape, "antialiased" if picture is image else "nearest")
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
    return _drawn(figure)


def cost_picture(
    image: np.ndarray, maps: Sequence[np.ndarray], row_names: Sequence[str], names: Sequence[str]
) -> np.ndarray:
    """Cost maps as in figure 5 of the RSKT-Seg paper: kinds of cost downwards, classes across.

    Args: image (H, W, 3) uint8, drawn first; maps, for each row one (T, h, w) array; row_names, one for
    each; names, T class names. Every row has a colour scale of its own, common to its classes. Many
    classes go on in further blocks of rows below.
    """
    height, width = image.shape[:2]
    across = min(len(names), 8)
    blocks = math.ceil(len(names) / across)
    rows = len(maps) * blocks
    panel_width, panel_height = _panel_inches(height, width, 1.5, 1.2)
    letters = int(panel_width / 0.08)
    figure = _figure((across + 1) * panel_width + 0.6, rows * (panel_height + 0.25))
    axes = figure.subplots(rows, across + 1, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    _show(axes[0, 0], _reduced(image, Image.Resampling.BILINEAR), "Image", (height, width), "antialiased")
    for row, costs in enumerate(maps):
        limits = {"vmin": float(costs.min()), "vmax": float(costs.max())}
        for t, name in enumerate(names):
            block, column = divmod(t, across)
            axis = axes[block * len(maps) + row, column + 1]
            drawn = axis.imshow(costs[t], cmap="viridis", interpolation="bilinear", **limits)
            drawn.set_extent((0, width, height, 0))
            if row == 0:
                axis.set_title(
                    textwrap.fill(name, letters, break_long_words=False), fontsize=8, parse_math=False
                )
            if column == 0:
                axis.text(
                    -0.06, 0.5, row_names[row], transform=axis.transAxes, rotation=90, ha="right", va="center"
                )
    return _drawn(figure)


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
    picture[~scored] = _NOTHING
    picture[scored & (labels != truth)] = _WRONG
    return picture


def _legend_handles(shown: list[np.ndarray], colors: np.ndarray, names: Sequence[str]) -> "list[Patch]":
    counts = [np.bincount(np.minimum(m, len(names)).ravel(), minlength=len(names) + 1) for m in shown]
    share = counts[0][:-1] / max(counts[0][:-1].sum(), 1)
    listed = range(len(names))
    if len(names) > _LISTED_CLASSES:
        listed = np.flatnonzero(sum(counts)[:-1])
    handles = _patches(names, colors, listed, [f"  {part:.1%}" for part in share])
    if any(count[-1] for count in counts):
        handles += _patches(["not classified"], _NOTHING[None], [0], [""])
    return handles


def _patches(names, colors, listed, endings) -> "list[Patch]":
    from matplotlib.patches import Patch

    return [
        # A dollar sign would start a formula.
        Patch(
            facecolor=colors[t] / 255,
            edgecolor="0.4",
            lw=0.5,
            label=f"{names[t]}{endings[t]}".replace("$", r"\$"),
        )
        for t in listed
    ]


def _row_of_panels(number: int, shape: tuple[int, ...]) -> "tuple[Figure, Sequence[Axes]]":
    width, height = _panel_inches(*shape, _PANEL_INCHES, _LEAST_INCHES)
    figure = _figure(max(number * width + 0.2 * (number - 1), 3.5), height + 0.9)
    return figure, figure.subplots(1, number, squeeze=False)[0]


def _panel_inches(height: int, width: int, longest: float, least: float) -> tuple[float, float]:
    """(width, height) of a panel in inches for an image, the aspect ratio kept unless it is extreme."""
    scale = longest / max(height, width)
    return max(width * scale, least), max(height * scale, least)


def _reduced(array: np.ndarray, kind: Image.Resampling) -> np.ndarray:
    """An image or label map with no more pixels than a panel can show."""
    height, width = array.shape[:2]
    step = max(height, width) / _PANEL_PIXELS
    if step <= 1:
        return array
    size = (max(1, round(width / step)), max(1, round(height / step)))
    return np.asarray(Image.fromarray(array).resize(size, kind))


def _show(axis: "Axes", picture: np.ndarray, title: str, shape: tuple[int, ...], interpolation: str) -> None:
    """Draw a picture of an image of `shape` (H, W), of which it may be a reduction."""
    axis.imshow(picture, interpolation=interpolation, extent=(0, shape[1], shape[0], 0))
    axis.set_title(title, fontsize=10)
    axis.set_axis_off()


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")


def _drawn(figure: "Figure") -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.08)
    return np.asarray(Image.open(file).convert("RGB"))


def _borders(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels whose right or lower neighbour has another label."""
    borders = np.zeros(labels.shape, bool)
    borders[:-1] |= labels[:-1] != labels[1:]
    borders[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return borders
