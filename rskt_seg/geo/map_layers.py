"""What the rasters of a map hold beside their pixels: names, colours, nodata, the scale of their values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rskt_seg.class_colors import NO_CLASS
from rskt_seg.geo.qgis import class_style, share_style
from rskt_seg.legend import Legend

NO_SHARE = 255
"""Value of pixels without data in rasters of shares."""
SHARE_SCALE = 1 / 254
"""A share of 0..1 is `SHARE_SCALE` times the value 0..254 of its pixel."""


@dataclass(frozen=True)
class MapLayer:
    """A raster of a map, but for its pixels and its place on the ground.

    Attributes:
        dtype: "uint8" or "uint16".
        nodata: Value of pixels without data.
        bands: Descriptions of the bands.
        tags: Tags of each band.
        colors: Colour table: RGB and alpha, 0..255, of the values from 0; None without.
        scale: Factor from values to what they stand for; None for ids.
        style: Text of a `.qml` file of QGIS.
    """

    dtype: str
    nodata: int
    bands: tuple[str, ...]
    style: str
    tags: tuple[tuple[str, str], ...] = ()
    colors: tuple[tuple[int, int, int, int], ...] | None = None
    scale: float | None = None

    @classmethod
    def ids(cls, legend: Legend) -> "MapLayer":
        """Describe a raster of class ids.

        Args:
            legend: Its classes.

        Returns:
            The layer, of the dtype and nodata of the legend.
        """
        dtype, tags = legend.dtype.__name__, tuple(class_tags(legend).items())
        colors = color_table(legend, legend.nodata)
        return cls(dtype, legend.nodata, ("class id",), class_style(legend), tags, colors)

    @classmethod
    def confidence(cls) -> "MapLayer":
        """Describe a raster of the winning score, 0..254 for 0..1."""
        return cls("uint8", NO_SHARE, ("confidence",), share_style(), scale=SHARE_SCALE)

    @classmethod
    def scores(cls, names: Sequence[str]) -> "MapLayer":
        """Describe a raster with the score of each class in a band of its own, 0..254 for 0..1.

        Args:
            names: The classes, one a band.

        Returns:
            The layer.
        """
        return cls("uint8", NO_SHARE, tuple(names), share_style(), scale=SHARE_SCALE)


def share_values(shares: np.ndarray) -> np.ndarray:
    """Return the values of a raster that stand for shares.

    Args:
        shares: Float32 in 0..1, of any shape.

    Returns:
        The nearest of 0..254, uint8.
    """
    return np.rint(shares * np.float32(NO_SHARE - 1)).clip(0, NO_SHARE - 1).astype(np.uint8)


def class_tags(legend: Legend) -> dict[str, str]:
    """Return the tags `CLASS_<id>` that name the classes of a raster of ids.

    Args:
        legend: Its classes.

    Returns:
        Tag -> name.
    """
    return {f"CLASS_{entry.id}": entry.name for entry in legend.entries}


def color_table(legend: Legend, nodata: int) -> tuple[tuple[int, int, int, int], ...]:
    """Return a row (RGB and alpha, 0..255) for every value of a raster of ids.

    Args:
        legend: Its classes.
        nodata: Value of pixels without data, which are transparent.

    Returns:
        256 or 65,536 rows; values that stand for nothing are light grey.
    """
    # A table of TIFF has no alpha, and no gaps: GDAL reads every row but that of nodata as opaque, and rows
    # that are not written as black.
    rows = [(*NO_CLASS, 255)] * (256 if legend.nodata < 256 else 65_536)
    for entry in legend.entries:
        rows[entry.id] = (*entry.color, 255)
    rows[nodata] = (0, 0, 0, 0)
    return tuple(rows)
