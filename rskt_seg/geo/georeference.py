"""Georeferences: where on the ground an image lies, copied from a raster to the raster of its labels."""

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rskt_seg.windows import Window

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.control import GroundControlPoint
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader, DatasetWriter
    from rasterio.rpc import RPC


@contextmanager
def ignore_georeference_warnings() -> Iterator[None]:
    """Suppress rasterio's warning of rasters without a georeference, which are ordinary images here."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def options_without_georeference(path: str | Path) -> dict[str, str]:
    """Return the options of `rasterio.open` that save the look-up of a GeoTIFF's CRS, longer than opening.

    With them GDAL passes over the whole side-car `.aux.xml`, so there are none where it exists: it may
    declare nodata and the roles of bands.

    Args:
        path: The TIFF file.

    Returns:
        The options.
    """
    return {} if os.path.exists(f"{path}.aux.xml") else {"GEOREF_SOURCES": "NONE"}


@dataclass(frozen=True)
class Georeference:
    """A coordinate reference system and the mapping from pixels to it, as objects of rasterio.

    Attributes:
        crs: None if unknown.
        transform: Affine map from (column, row) to CRS coordinates; None for a raster with ground control
            points, rational polynomials or a CRS alone.
        gcps: Ground control points.
        gcps_crs: The CRS of the ground control points.
        rpcs: Rational polynomial coefficients.
    """

    crs: "CRS | None" = None
    transform: "Affine | None" = None
    gcps: "tuple[GroundControlPoint, ...]" = ()
    gcps_crs: "CRS | None" = None
    rpcs: "RPC | None" = None

    @classmethod
    def at(cls, epsg: int, corner: tuple[float, float], side: float) -> "Georeference":
        """Place an image whose rows run from west to east.

        Args:
            epsg: Code of the CRS.
            corner: Its upper left corner (x, y) in the CRS.
            side: Side of a pixel in units of the CRS.

        Returns:
            The georeference.
        """
        from affine import Affine
        from rasterio.crs import CRS

        return cls(CRS.from_epsg(epsg), Affine(side, 0, corner[0], 0, -side, corner[1]))

    @classmethod
    def from_dataset(cls, dataset: "DatasetReader") -> "Georeference | None":
        """Read the georeference of a raster.

        Args:
            dataset: The open raster.

        Returns:
            CRS, transform, ground control points and rational polynomials; None if it has none of them.
        """
        gcps, gcps_crs = dataset.gcps
        transform = None if dataset.transform.is_identity else dataset.transform
        found = cls(dataset.crs, transform, tuple(gcps), gcps_crs, dataset.rpcs)
        return None if found == cls() else found

    def profile(self) -> dict[str, Any]:
        """Return the keyword arguments of `rasterio.open` that write CRS and transform."""
        known = {"crs": self.crs, "transform": self.transform}
        return {key: value for key, value in known.items() if value is not None}

    def part(self, window: Window) -> "Georeference":
        """Return the georeference of a part of the raster.

        Args:
            window: The part, px.

        Returns:
            Transform, ground control points and rational polynomials, counted from its upper left corner.
        """
        from affine import Affine
        from rasterio.control import GroundControlPoint
        from rasterio.rpc import RPC

        if (window.top, window.left) == (0, 0):
            return self
        transform = None
        if self.transform is not None:
            transform = self.transform * Affine.translation(window.left, window.top)
        gcps = tuple(
            GroundControlPoint(
                each.row - window.top, each.col - window.left, each.x, each.y, each.z, each.id, each.info
            )
            for each in self.gcps
        )
        rpcs = None
        if self.rpcs is not None:
            facts = self.rpcs.to_dict()
            facts |= {
                "line_off": self.rpcs.line_off - window.top,
                "samp_off": self.rpcs.samp_off - window.left,
            }
            rpcs = RPC(**facts)
        return replace(self, transform=transform, gcps=gcps, rpcs=rpcs)

    def pixels_of(self, bounds: tuple[float, float, float, float]) -> Window | None:
        """Return the smallest window (px) that holds a rectangle of coordinates.

        Args:
            bounds: (left, bottom, right, top) in the CRS.

        Returns:
            The window, which may lie outside of the raster; None without a transform.
        """
        if self.transform is None:
            return None
        left, bottom, right, top = bounds
        corners = [~self.transform * corner for corner in product((left, right), (bottom, top))]
        columns, rows = zip(*corners, strict=True)
        # Rounded first: a bound on the edge of a pixel would else reach the next one by rounding.
        first = math.floor(round(min(rows), 6)), math.floor(round(min(columns), 6))
        last = math.ceil(round(max(rows), 6)), math.ceil(round(max(columns), 6))
        return Window(*first, last[0] - first[0], last[1] - first[1])

    def write_points(self, dataset: "DatasetWriter") -> None:
        """Write ground control points and rational polynomials, unless there is a transform.

        Args:
            dataset: A raster opened for writing.
        """
        if self.transform is not None:
            return
        if self.gcps:
            dataset.gcps = (list(self.gcps), self.gcps_crs)
        if self.rpcs is not None:
            dataset.rpcs = self.rpcs
