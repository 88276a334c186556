"""Ellipsoids and the coordinates of coordinate reference systems on them."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rasterio.crs import CRS

_STEP = 2e-5  # side, in semi-major axes, of the cell that a local scale is measured on: 128 m on the Earth
_POLE = math.pi / 2 + 1e-9


@dataclass(frozen=True)
class Ellipsoid:
    """An oblate ellipsoid of revolution, or a sphere.

    Attributes:
        semi_major: Semi-major axis in metres.
        flattening: 1 - semi-minor / semi-major; 0 for a sphere.
    """

    semi_major: float
    flattening: float

    def zone(self, latitude: np.ndarray) -> np.ndarray:
        """Compute the area between the equator and a parallel in closed form.

        Args:
            latitude: Any shape, geodetic, in radians, -pi/2..pi/2.

        Returns:
            Square metres for each radian of longitude, negative in the south.
        """
        sine = np.sin(latitude)
        if self.flattening == 0:
            return self.semi_major**2 * sine
        squared = self.flattening * (2 - self.flattening)
        eccentricity = math.sqrt(squared)
        curved = sine / (1 - squared * sine**2) + np.arctanh(eccentricity * sine) / eccentricity
        return self.semi_major**2 * (1 - squared) / 2 * curved

    def positions(self, longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
        """Compute the positions of points in space, which know neither poles nor a date line.

        Args:
            longitude: (N,) in radians.
            latitude: (N,), geodetic, in radians.

        Returns:
            (N, 3) metres from the centre.
        """
        squared = self.flattening * (2 - self.flattening)
        normal = self.semi_major / np.sqrt(1 - squared * np.sin(latitude) ** 2)
        return np.stack(
            (
                normal * np.cos(latitude) * np.cos(longitude),
                normal * np.cos(latitude) * np.sin(longitude),
                normal * (1 - squared) * np.sin(latitude),
            ),
            axis=-1,
        )


@dataclass(frozen=True)
class Ground:
    """The ellipsoid below a coordinate reference system.

    Attributes:
        ellipsoid: That of the CRS.
        unit: A unit of the CRS, in radians if `angular`, else in metres.
        projection: The CRS and the geographic CRS that it is derived from, without change of datum; None if
            coordinates are longitude and latitude themselves.
        angular: Whether coordinates are angles.
    """

    ellipsoid: Ellipsoid
    unit: float
    projection: "tuple[CRS, CRS] | None"
    angular: bool

    @classmethod
    def of(cls, crs: "CRS") -> "Ground | None":
        """Find the ellipsoid of a CRS.

        Args:
            crs: A geographic or projected CRS, whether compound, three-dimensional or bound to another.

        Returns:
            The ground; None for any other CRS, such as an engineering or a geocentric one.
        """
        from rasterio.crs import CRS

        horizontal = _horizontal(crs.to_dict(projjson=True))
        kind = horizontal.get("type")
        if kind not in ("GeographicCRS", "DerivedGeographicCRS", "ProjectedCRS", "DerivedProjectedCRS"):
            return None
        base = horizontal
        while "base_crs" in base:
            base = base["base_crs"]
        datum = base.get("datum") or base.get("datum_ensemble") or {}
        if "ellipsoid" not in datum:
            return None
        pair = None if base is horizontal else (CRS.from_dict(horizontal), CRS.from_dict(base))
        angular = kind in ("GeographicCRS", "DerivedGeographicCRS")
        return cls(_ellipsoid(datum["ellipsoid"]), crs.units_factor[1], pair, angular)

    def tangents(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Measure where one unit of x and one unit of y lead on the ground.

        Args:
            x: (N,) in units of the CRS.
            y: (N,) in units of the CRS.

        Returns:
            Two (N, 3) vectors in metres for one unit; not finite where a point lies outside of the domain of
            the projection.
        """
        step = _STEP / self.unit * (1 if self.angular else self.ellipsoid.semi_major)
        half = step / 2
        longitude, latitude = self._geodetic(
            np.concatenate((x, x + half, x - half, x, x)), np.concatenate((y, y, y, y + half, y - half))
        )
        count = len(x)
        latitude[np.tile(np.abs(latitude[:count]) > _POLE, 5)] = np.nan
        found = self.ellipsoid.positions(longitude[count:], latitude[count:])
        east, west, north, south = found.reshape(4, count, 3)
        return (east - west) / step, (north - south) / step

    def _geodetic(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.projection is None:
            return x * self.unit, y * self.unit
        from rasterio.warp import transform

        try:
            longitude, latitude = transform(*self.projection, x, y)
        except Exception:  # PROJ's errors, of a private type of rasterio: one of the points has no place
            return np.full(len(x), np.nan), np.full(len(x), np.nan)
        angle = self.projection[1].units_factor[1]  # degrees, but grads of France
        return np.asarray(longitude) * angle, np.asarray(latitude) * angle


def _horizontal(crs: dict[str, Any]) -> dict[str, Any]:
    """Return the horizontal part of a CRS in PROJ JSON, free of a transformation to another datum."""
    while True:
        if crs.get("type") == "CompoundCRS":
            crs = crs["components"][0]
        elif crs.get("type") == "BoundCRS":
            crs = crs["source_crs"]
        else:
            return crs


def _ellipsoid(found: dict[str, Any]) -> Ellipsoid:
    """Read an ellipsoid of PROJ JSON, which has a radius or two of three values."""
    if "radius" in found:
        return Ellipsoid(_metres(found["radius"]), 0.0)
    major = _metres(found["semi_major_axis"])
    if "semi_minor_axis" in found:
        return Ellipsoid(major, 1 - _metres(found["semi_minor_axis"]) / major)
    inverse = float(found["inverse_flattening"])
    return Ellipsoid(major, 1 / inverse if inverse else 0.0)


def _metres(value: Any) -> float:
    """Return a length of PROJ JSON: a number in metres, or one with its unit."""
    if not isinstance(value, dict):
        return float(value)
    unit = value["unit"]
    return float(value["value"]) * float(1 if unit == "metre" else unit["conversion_factor"])
