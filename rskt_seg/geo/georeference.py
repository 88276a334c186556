"""Where on the ground an image lies, carried from an input raster to the raster of its labels."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.control import GroundControlPoint
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader, DatasetWriter
    from rasterio.rpc import RPC

_WEB_MERCATOR = 3857


@contextmanager
def without_georeference_warnings() -> Iterator[None]:
    """rasterio warns of every raster that lies nowhere; here that is an ordinary image."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@dataclass(frozen=True)
class Georeference:
    """Coordinate reference system and the ways from pixels to it, as rasterio's own objects.

    `transform` is None for a raster that has ground control points, rational polynomials or nothing
    but a CRS.
    """

    crs: "CRS | None" = None
    transform: "Affine | None" = None
    gcps: "tuple[GroundControlPoint, ...]" = ()
    gcps_crs: "CRS | None" = None
    rpcs: "RPC | None" = None

    @classmethod
    def of(cls, dataset: "DatasetReader") -> "Georeference | None":
        """That of an open raster, or None if it has none."""
        gcps, gcps_crs = dataset.gcps
        transform = None if dataset.transform.is_identity else dataset.transform
        found = cls(dataset.crs, transform, tuple(gcps), gcps_crs, dataset.rpcs)
        return None if found == cls() else found

    def profile(self) -> dict:
        """The keyword arguments for `rasterio.open` that write CRS and transform."""
        known = {"crs": self.crs, "transform": self.transform}
        return {key: value for key, value in known.items() if value is not None}

    def write_points(self, dataset: "DatasetWriter") -> None:
        """Write ground control points and rational polynomials where there is no transform."""
        if self.transform is not None:
            return
        if self.gcps:
            dataset.gcps = (list(self.gcps), self.gcps_crs)
        if self.rpcs is not None:
            dataset.rpcs = self.rpcs

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """(height, width) of a pixel in metres; None unless a transform and a projected CRS are known."""
        if (unit := self._metres_per_unit()) is None:
            return None
        t = self.transform
        return unit * math.hypot(t.b, t.e), unit * math.hypot(t.a, t.d)

    @property
    def pixel_area(self) -> float | None:
        """Square metres of a pixel in the map's own plane; None where `pixel_size` is."""
        if (unit := self._metres_per_unit()) is None:
            return None
        return unit**2 * abs(self.transform.determinant)

    @property
    def notices(self) -> tuple[str, ...]:
        """What to know before one trusts an area."""
        if self.pixel_area is None or self.crs.to_epsg() != _WEB_MERCATOR:
            return ()
        return (
            "EPSG:3857 (Web Mercator) stretches areas by 1 / cos(latitude)^2; "
            "reproject the image for true square metres",
        )

    def _metres_per_unit(self) -> float | None:
        if self.crs is None or self.transform is None or not self.crs.is_projected:
            return None
        return self.crs.linear_units_factor[1]
