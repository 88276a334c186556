"""What all pictures share: figures that matplotlib draws off screen. It is imported on use."""

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

NOTHING = np.array([225, 225, 225], np.uint8)
"""The colour of pixels without a class."""
EMPTY = np.array([255, 255, 255], np.uint8)
"""What a map is left as where the image holds no data, if that is told from being without a class."""
_PANEL_PIXELS = 1000
_DPI = 150


def panel_inches(height: int, width: int, longest: float, least: float) -> tuple[float, float]:
    """(width, height) of a panel in inches for an image, the aspect ratio kept unless it is extreme."""
    scale = longest / max(height, width)
    return max(width * scale, least), max(height * scale, least)


def reduced(array: np.ndarray, kind: Image.Resampling) -> np.ndarray:
    """An image or label map with no more pixels than a panel can show."""
    height, width = array.shape[:2]
    step = max(height, width) / _PANEL_PIXELS
    if step <= 1:
        return array
    size = (max(1, round(width / step)), max(1, round(height / step)))
    return np.asarray(Image.fromarray(array).resize(size, kind))


def show(axis: "Axes", picture: np.ndarray, title: str, shape: tuple[int, ...], interpolation: str) -> None:
    """Draw a picture of an image of `shape` (H, W), of which it may be a reduction."""
    axis.imshow(picture, interpolation=interpolation, extent=(0, shape[1], shape[0], 0))
    axis.set_title(title, fontsize=10)
    axis.set_axis_off()


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")


def drawn(figure: "Figure") -> np.ndarray:
    """A figure as an RGB picture (H, W, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.08)
    return np.asarray(Image.open(file).convert("RGB"))


def color_patches(
    names: Sequence[str], colors: np.ndarray, listed: Iterable[int], endings: Sequence[str]
) -> "list[Patch]":
    """Handles of a legend: for each t `listed` the colour `colors[t]` (uint8) and `names[t] + endings[t]`."""
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
