"""Figures that matplotlib draws off screen, and what their panels share. matplotlib is imported on use."""

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from rskt_seg.class_colors import NO_CLASS
from rskt_seg.visualization.fonts import use_fonts_for, without_word_of_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.patches import Patch

Extent = tuple[float, float, float, float]
"""Where a picture lies on its axes: left, right, bottom, top."""
Interpolation = Literal["antialiased", "bilinear", "nearest"]

UNLABELLED_COLOR = np.array(NO_CLASS, np.uint8)
"""Light grey: pixels without a class (nodata, ignore_label)."""
NODATA_COLOR = np.array([255, 255, 255], np.uint8)
"""White: pixels where the image holds no data, in pictures that tell them from pixels without a class."""
_MAX_PANEL_SIDE = 1000
_DPI = 150
_HEAT_ALPHA = 0.6


def image_size(image: np.ndarray) -> tuple[int, int]:
    """Return (height, width) of an image or label map."""
    height, width = image.shape[:2]
    return height, width


def panel_inches(size: tuple[int, int], longest: float, least: float) -> tuple[float, float]:
    """Compute the size of the panel of an image.

    Args:
        size: (H, W) of the image, whose aspect ratio is kept unless it is extreme.
        longest: Inches of the longer side.
        least: Inches that no side falls below.

    Returns:
        (width, height) in inches.
    """
    height, width = size
    scale = longest / max(height, width)
    return max(width * scale, least), max(height * scale, least)


def shrink_image(image: np.ndarray) -> np.ndarray:
    """Resize an image (bilinear) to at most 1000 px a side, which is all that a panel can show."""
    return _shrink(image, Image.Resampling.BILINEAR)


def shrink_labels(labels: np.ndarray) -> np.ndarray:
    """Resize a label map or mask (nearest) to at most 1000 px a side, which is all that a panel can show."""
    if labels.dtype == bool:
        return _shrink(labels.astype(np.uint8), Image.Resampling.NEAREST).astype(bool)
    return _shrink(labels, Image.Resampling.NEAREST)


def _shrink(array: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
    height, width = image_size(array)
    factor = max(height, width) / _MAX_PANEL_SIDE
    if factor <= 1:
        return array
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return np.asarray(Image.fromarray(array).resize(size, resampling))


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure.

    Args:
        width: Inches.
        height: Inches.

    Returns:
        The figure, which is never shown on a screen.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")


def add_panels(figure: "Figure", rows: int, columns: int) -> "list[list[Axes]]":
    """Add a grid of empty panels without axes.

    Args:
        figure: A figure without panels.
        rows: Number of rows.
        columns: Number of columns.

    Returns:
        The panels of each row.
    """
    panels: list[list[Axes]] = figure.subplots(rows, columns, squeeze=False).tolist()
    for row in panels:
        for panel in row:
            panel.set_axis_off()
    return panels


def render(figure: "Figure") -> np.ndarray:
    """Render a figure to a picture (H, W, 3) uint8 RGB, with fonts that have the characters of its texts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    use_fonts_for(figure)
    file = io.BytesIO()
    with without_word_of_glyphs():
        # Nobody keeps the file, and its compression takes a quarter of the time.
        plain = {"compress_level": 0}
        figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.08, pil_kwargs=plain)
    return np.asarray(Image.open(file).convert("RGB"))


def fill_panel(
    panel: "Axes", picture: np.ndarray, title: str, size: tuple[int, int], interpolation: Interpolation
) -> None:
    """Draw a picture and its title.

    Args:
        panel: The panel.
        picture: (h, w, 3) uint8 RGB, perhaps shrunk.
        title: The title.
        size: (H, W) of the image that it shows, in whose pixels the axes count.
        interpolation: How it is resampled.
    """
    panel.imshow(picture, interpolation=interpolation, extent=full_extent(size))
    panel.set_title(title, fontsize=10)


def full_extent(size: tuple[int, int]) -> Extent:
    """Return the extent of a picture that covers an image of `size` (H, W)."""
    height, width = size
    return (0, width, height, 0)


def draw_heat(panel: "Axes", values: np.ndarray, extent: Extent, highest: float = 1.0) -> "AxesImage":
    """Draw a map (h, w) translucently over what the panel shows.

    Args:
        panel: The panel.
        values: (h, w) from 0.
        extent: Where the map lies on the axes.
        highest: End of the colour scale, which starts at 0.

    Returns:
        What was drawn, for a colour bar.
    """
    return panel.imshow(
        values,
        extent=extent,
        cmap="turbo",
        interpolation="bilinear",
        vmin=0,
        vmax=highest,
        alpha=_HEAT_ALPHA,
    )


def legend_patch(color: np.ndarray, text: str) -> "Patch":
    """Return the legend handle of a colour.

    Args:
        color: (3,) uint8 RGB.
        text: What the colour stands for.

    Returns:
        The handle.
    """
    from matplotlib.patches import Patch

    return Patch(facecolor=tuple(color / 255), edgecolor="0.4", lw=0.5, label=escape_dollars(text))


def add_legend(figure: "Figure", handles: "Sequence[Patch]") -> None:
    """Add a legend below the panels, in as many columns as the width holds.

    Args:
        figure: The figure with its panels.
        handles: At least one handle of `legend_patch`.
    """
    widest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, int(figure.get_figwidth() / (0.5 + 0.085 * widest)))
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        frameon=False,
        fontsize=9,
    )


def escape_dollars(text: str) -> str:
    """Escape dollar signs, which would start a formula."""
    return text.replace("$", r"\$")


class ClassGrid:
    """A figure of maps in rows, with a column for each class after a first column that holds the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        rows: Number of rows.
        columns: Number of columns of maps.
        longest: Inches of the longer side of a panel.
    """

    def __init__(self, image: np.ndarray, rows: int, columns: int, longest: float) -> None:
        self.extent = full_extent(image_size(image))
        width, height = panel_inches(image_size(image), longest, 1.2)
        self.figure = new_figure((columns + 1) * width + 0.6, rows * (height + 0.25))
        self.panels = add_panels(self.figure, rows, columns + 1)
        self._letters = int(width / 0.08)
        fill_panel(self.panels[0][0], shrink_image(image), "Image", image_size(image), "antialiased")

    def panel(self, row: int, column: int, row_name: str, title: str) -> "Axes":
        """Return the panel of a map, titled.

        Args:
            row: Row of the grid.
            column: Column, counted from the first map.
            row_name: What is written to the left of the first map of a row.
            title: Title of the panel, which may be empty.

        Returns:
            The panel.
        """
        panel = self.panels[row][column + 1]
        if title:
            text = textwrap.fill(title, self._letters, break_long_words=False)
            panel.set_title(text, fontsize=8, parse_math=False)
        if column == 0:
            panel.text(-0.06, 0.5, row_name, transform=panel.transAxes, rotation=90, ha="right", va="center")
        return panel
