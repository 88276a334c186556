"""What a session keeps of a segmentation, and its pictures."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg.geo.area import AreaSummary
from rskt_seg.geo.map_layers import NO_SHARE, SHARE_SCALE
from rskt_seg.legend import Legend
from rskt_seg.visualization.labels import draw_overlay

MOST_PIXELS = 1600
"""Longest side of a picture on the page."""
VIEWS = ("classes", "confidence", "image")
_NO_DATA = np.array([225, 225, 225], np.uint8)
_RAMP = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], np.float64)
"""Five colours from low to high whose lightness rises evenly, as those of matplotlib's viridis."""


@dataclass(frozen=True, eq=False)
class Result:
    """A segmentation as the page shows it, reduced to `MOST_PIXELS`.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        ids: (h, w) ids of the legend, uint8 or uint16.
        shares: (h, w) uint8, the confidence in units of `SHARE_SCALE`; `NO_SHARE` for nodata.
        legend: The classes.
        areas: Areas of the whole map, in the order of the legend.
        background: Id of the class that is not tinted, or None.
        notices: Decisions that the user should know of, one line each.
        files: What it is -> file to download.
    """

    image: np.ndarray
    ids: np.ndarray
    shares: np.ndarray
    legend: Legend
    areas: AreaSummary
    background: int | None
    notices: tuple[str, ...]
    files: Mapping[str, Path]

    @property
    def present(self) -> tuple[int, ...]:
        """Positions in the legend of the classes that have pixels, the largest first."""
        pixels = [area.pixels for area in self.areas.classes]
        return tuple(sorted((k for k, count in enumerate(pixels) if count), key=lambda k: -pixels[k]))

    def draw(self, shown: Collection[int], opacity: float, view: str) -> np.ndarray:
        """Draw the result over its image.

        Args:
            shown: Positions in the legend of the classes that are shown; pixels of others are the image.
            opacity: Share of what is drawn over the image; it is cut to 0..1.
            view: One of `VIEWS`.

        Returns:
            Picture (h, w, 3) uint8 RGB.
        """
        if view == "image":
            return self.image
        opacity = min(max(float(opacity), 0.0), 1.0)
        positions, count = self.legend.positions(self.ids), len(self.legend.entries)
        seen = np.zeros(count + 1, bool)
        seen[[k for k in shown if 0 <= k < count]] = True
        visible = seen[positions]
        if view == "confidence":
            heat = confidence_colors(self.shares)
            # Without colours of its own the image does not change those of the confidence.
            gray = self.image.mean(axis=2, keepdims=True, dtype=np.float32)
            mixed = gray + opacity * (heat - gray)
            return np.where(visible[:, :, None], np.rint(mixed), self.image).astype(np.uint8)
        untinted = None if self.background is None else int(self.legend.positions(np.array(self.background)))
        labels = np.where(visible, positions, count)
        return draw_overlay(self.image, labels, self.legend.colors, alpha=opacity, background=untinted)


def confidence_colors(shares: np.ndarray) -> np.ndarray:
    """Return the colours of a confidence from 0 (dark blue) to 1 (yellow), grey for nodata.

    Args:
        shares: (h, w) uint8 in units of `SHARE_SCALE`; `NO_SHARE` for nodata.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    steps = np.arange(256) * SHARE_SCALE * (len(_RAMP) - 1)
    table = np.stack([np.interp(steps, np.arange(len(_RAMP)), _RAMP[:, c]) for c in range(3)], axis=1)
    table[NO_SHARE] = _NO_DATA
    return table.round().astype(np.uint8)[shares]


def reduced_size(height: int, width: int) -> tuple[int, int]:
    """Return (height, width) of the picture of an image on the page."""
    factor = min(1.0, MOST_PIXELS / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def reduce(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture, ids or shares in a smaller size; colours by area, values by nearest neighbour.

    Args:
        array: (H, W, 3) uint8 RGB, or (H, W) uint8 or uint16.
        size: (height, width).

    Returns:
        The same, of that size.
    """
    if array.shape[:2] == size:
        return array
    how = Image.Resampling.BOX if array.ndim == 3 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(array).resize((size[1], size[0]), how))
