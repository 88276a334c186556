"""Georeferences: where on the ground an image lies, copied from a raster to the raster of its labels."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
