"""Areas on the ground: of every pixel of a grid, and of the classes of a label map."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rskt_seg.geo.ellipsoid import Ground
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.map_rows import class_rows, open_map
from rskt_seg.legend import Legend

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.crs import CRS

GEODESIC = "geodesic"
"""Areas on the ellipsoid of the CRS, at height 0."""
PLANE = "plane"
"""Areas in the plane of a CRS that has no ellipsoid."""

_TOLERANCE = 1e-4
_START, _MAX_NODES = 8, 2**18
_CHUNK = 2**20


@dataclass(frozen=True)
class ClassArea:
    """Area of a class in an image.

    Attributes:
        name: Name of the class.
        pixels: Number of pixels.
        share: Share of the pixels that have a class, 0..1; None for those that have none.
        square_metres: Area on the ground, geodesic wherever the CRS has an ellipsoid; None if unknown.
    """

    name: str
    pixels: int
    share: float | None
    square_metres: float | None

    @property
    def hectares(self) -> float | None:
        """The area in hectares; None if unknown."""
        return None if self.square_metres is None else self.square_metres / 1e4


@dataclass(frozen=True)
class AreaSummary:
    """Areas of all classes of an image.

    Attributes:
        classes: One for each class, in the order of the classes.
        total: All pixels that have a class.
        nodata: All other pixels.
        method: "geodesic" or "plane"; None if only pixels are known.
        notices: Why areas are not geodesic, one line each.
    """

    classes: tuple[ClassArea, ...]
    total: ClassArea
    nodata: ClassArea
    method: str | None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class PixelAreas:
    """Area of every pixel of a grid, by linear interpolation between nodes.

    Areas are multiples of a power of two that is small beside them. Their sums are thereby exact, so that
    they do not depend on the order in which pixels are added, and parts add up to the whole.

    Attributes:
        method: `GEODESIC` or `PLANE`; None if areas are unknown.
        rows: (R,) float64, rows of the nodes, increasing; the centre of the first pixel is 0.
        columns: (C,) float64, likewise.
        nodes: (R, C) float64, square metres.
        shape: (H, W) of the grid.
        notices: Why areas are not geodesic, one line each.
    """

    method: str | None
    rows: np.ndarray
    columns: np.ndarray
    nodes: np.ndarray
    shape: tuple[int, int]
    notices: tuple[str, ...] = ()

    @property
    def unit(self) -> float:
        """Square metres that every area is a multiple of; the grid has fewer than 2**53 of them."""
        rows, columns = self.shape
        return 2.0 ** (np.ceil(np.log2(rows * columns * self.nodes.max())) - 52)

    def block(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the areas of a block of pixels.

        Args:
            rows: (h,) rows from 0.
            columns: (w,) columns from 0.

        Returns:
            (h, w) float64, square metres.
        """
        areas = _interpolate(self.columns, _interpolate(self.rows, self.nodes, rows).T, columns).T
        return np.rint(areas / self.unit) * self.unit


def pixel_areas(georeference: Georeference | None, shape: tuple[int, int]) -> PixelAreas:
    """Find the ground area of the pixels of a grid.

    Areas lie on the ellipsoid of the CRS, without its heights. Those of a grid in longitude and latitude with
    level rows have a closed form. Elsewhere the area of a pixel is that of its parallelogram in the plane of
    the map times the local scale of the projection at its centre. This scale is measured at nodes, which are
    set closer until halfway between them interpolation is off by less than 0.01 %; it is exact at nodes.

    Args:
        georeference: That of the image, or None.
        shape: (H, W) of the image.

    Returns:
        The areas. They are unknown without a CRS and a transform, and where the grid reaches beyond the
        domain of its projection; a CRS without ellipsoid has areas in the plane of the map.
    """
    if georeference is None or georeference.crs is None or georeference.transform is None:
        return _unknown()
    crs, transform = georeference.crs, georeference.transform
    ground = Ground.of(crs)
    if ground is None:
        return _in_the_plane(crs, transform, shape)
    if ground.projection is None and transform.b == transform.d == 0:
        found = _level_rows(ground, transform, shape)
    else:
        found = _by_local_scale(ground, transform, shape)
    if found is None:
        return _unknown(
            "areas are unknown: parts of the grid have no place on the ground, or the scale of its "
            "projection has no limit there; cut or reproject the image"
        )
    return found


def pixel_size(georeference: Georeference | None, shape: tuple[int, int]) -> tuple[float, float] | None:
    """Measure the pixel in the middle of a grid on the ground.

    Args:
        georeference: That of the image, or None.
        shape: (H, W) of the image.

    Returns:
        (height, width) in metres on the ellipsoid of the CRS; None if unknown.
    """
    if georeference is None or georeference.crs is None or georeference.transform is None:
        return None
    if (ground := Ground.of(georeference.crs)) is None:
        return None
    row, column = np.array([shape[0] / 2 - 0.5]), np.array([shape[1] / 2 - 0.5])
    right, down = _edges(ground, georeference.transform, row, column)
    height, width = float(np.linalg.norm(down)), float(np.linalg.norm(right))
    return (height, width) if np.isfinite((height, width)).all() else None


def measure_classes(
    labels: np.ndarray, valid: np.ndarray, names: Sequence[str], georeference: Georeference | None
) -> AreaSummary:
    """Sum the areas of the pixels of every class.

    Args:
        labels: (H, W) class ids; others than 0..T-1 stand for no class.
        valid: (H, W) bool, False for nodata.
        names: T names.
        georeference: That of the image, or None.

    Returns:
        The areas, in the order of `names`.
    """
    height, width = labels.shape
    rows = (
        (part.start, np.where(valid[part], np.minimum(labels[part], len(names)), len(names)))
        for part in _chunks(height, width)
    )
    return sum_areas(rows, names, pixel_areas(georeference, (height, width)))


def measure_raster(path: Path, legend: Legend) -> AreaSummary:
    """Sum the areas of the pixels of every class of a finished map, in bounded memory.

    Sums are exact: those of parts of the map, such as its polygons, add up to them.

    Args:
        path: A raster whose first band holds ids of the legend.
        legend: The classes.

    Returns:
        The areas, in the order of the legend.

    Raises:
        ImageReadError: The raster cannot be read.
        LabelError: It has values that are no ids of the legend.
    """
    with open_map(path) as dataset:
        areas = pixel_areas(Georeference.from_dataset(dataset), dataset.shape)
        return sum_areas(class_rows(dataset, legend), [entry.name for entry in legend.entries], areas)


def sum_areas(rows: Iterable[tuple[int, np.ndarray]], names: Sequence[str], areas: PixelAreas) -> AreaSummary:
    """Sum the areas of the pixels of every class, some rows at a time.

    Args:
        rows: The first of some rows, and for each of their pixels (h, W) which of `names` it is; T for none.
        names: T names.
        areas: Those of the grid.

    Returns:
        The areas, in the order of `names`.
    """
    pixels = np.zeros(len(names) + 1, np.int64)
    metres = np.zeros(len(names) + 1)
    for start, classes in rows:
        pixels += np.bincount(classes.ravel(), minlength=len(pixels))
        if areas.method is not None:
            height, width = classes.shape
            weights = areas.block(np.arange(start, start + height), np.arange(width))
            metres += np.bincount(classes.ravel(), weights.ravel(), minlength=len(pixels))
    known = areas.method is not None
    with_class = int(pixels[:-1].sum())
    found = tuple(
        ClassArea(name, int(count), int(count) / max(with_class, 1), float(area) if known else None)
        for name, count, area in zip(names, pixels[:-1], metres[:-1], strict=True)
    )
    total = ClassArea("total", with_class, float(with_class > 0), float(metres[:-1].sum()) if known else None)
    nodata = ClassArea("nodata", int(pixels[-1]), None, float(metres[-1]) if known else None)
    return AreaSummary(found, total, nodata, areas.method, areas.notices)


def _unknown(*notices: str) -> PixelAreas:
    return PixelAreas(None, np.zeros(1), np.zeros(1), np.full((1, 1), np.nan), (1, 1), notices)


def _in_the_plane(crs: "CRS", transform: "Affine", shape: tuple[int, int]) -> PixelAreas:
    """Return areas for a CRS without ellipsoid."""
    unit, metres = crs.units_factor
    if unit == "unknown" or crs.to_dict(projjson=True).get("type") != "EngineeringCRS":
        return _unknown("areas are unknown: the coordinate system has neither an ellipsoid nor a known unit")
    area = abs(transform.determinant) * metres**2
    notice = (
        "the coordinate system has no ellipsoid: areas are those of the plane of the map, not of the ground; "
        "for geodesic areas give the image a projected or geographic one"
    )
    return PixelAreas(PLANE, np.zeros(1), np.zeros(1), np.full((1, 1), area), shape, (notice,))


def _chunks(height: int, width: int) -> Iterator[slice]:
    """Cut rows into slices of about `_CHUNK` pixels."""
    step = max(1, _CHUNK // width)
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def _level_rows(ground: Ground, transform: "Affine", shape: tuple[int, int]) -> PixelAreas | None:
    """Return the areas of a grid whose rows are parallels of latitude, in closed form.

    A row around a pole counts its part before the pole; a row whose middle is beyond gives None.
    """
    height, _ = shape
    edges = (transform.f + transform.e * np.arange(height + 1)) * ground.unit
    pole = np.pi / 2
    if max(abs(edges[:-1] + edges[1:])) / 2 > pole + 1e-9:
        return None
    zones = ground.ellipsoid.zone(np.clip(edges, -pole, pole))
    areas = np.abs(np.diff(zones) * transform.a * ground.unit)
    return PixelAreas(GEODESIC, np.arange(height, dtype=float), np.zeros(1), areas[:, None], shape)


def _by_local_scale(ground: Ground, transform: "Affine", shape: tuple[int, int]) -> PixelAreas | None:
    """Return the areas of any grid, with as many nodes as the tolerance needs; None if there is no limit."""
    row_steps, column_steps = (min(_START, length - 1) for length in shape)
    while (row_steps + 1) * (column_steps + 1) <= _MAX_NODES:
        rows = np.linspace(0, shape[0] - 1, row_steps + 1)
        columns = np.linspace(0, shape[1] - 1, column_steps + 1)
        nodes = _areas_at(ground, transform, rows, columns)
        if not np.isfinite(nodes).all():
            return None
        between_rows = between_columns = 0.0
        if row_steps < shape[0] - 1:
            there = _areas_at(ground, transform, _middles(rows), columns)
            between_rows = _difference(_middles(nodes), there)
        if column_steps < shape[1] - 1:
            there = _areas_at(ground, transform, rows, _middles(columns))
            between_columns = _difference(_middles(nodes.T).T, there)
        if not np.isfinite(between_rows + between_columns):
            return None
        if max(between_rows, between_columns) < _TOLERANCE:
            return PixelAreas(GEODESIC, rows, columns, nodes, shape)
        if between_rows >= _TOLERANCE:
            row_steps = min(2 * row_steps, shape[0] - 1)
        if between_columns >= _TOLERANCE:
            column_steps = min(2 * column_steps, shape[1] - 1)
    return None


def _areas_at(ground: Ground, transform: "Affine", rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the areas (R, C) of the pixels whose centres are at these rows (R,) and columns (C,)."""
    row, column = (each.ravel() for each in np.meshgrid(rows, columns, indexing="ij"))
    right, down = _edges(ground, transform, row, column)
    areas: np.ndarray = np.linalg.norm(np.cross(right, down), axis=1)
    return areas.reshape(len(rows), len(columns))


def _edges(
    ground: Ground, transform: "Affine", row: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the upper and the left edge (N, 3) of pixels (N,) as vectors on the ground, in metres."""
    t = transform
    x = t.a * (column + 0.5) + t.b * (row + 0.5) + t.c
    y = t.d * (column + 0.5) + t.e * (row + 0.5) + t.f
    along_x, along_y = ground.tangents(x, y)
    return t.a * along_x + t.d * along_y, t.b * along_x + t.e * along_y


def _middles(values: np.ndarray) -> np.ndarray:
    return (values[:-1] + values[1:]) / 2


def _difference(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Return the largest relative difference; not finite if any value is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.max(np.abs(estimate / truth - 1)))


def _interpolate(nodes: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Interpolate values (N, ...) given at nodes (N,) linearly at positions (M,) between the nodes."""
    if len(nodes) == 1:
        return np.repeat(values, len(at), axis=0)
    left = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, len(nodes) - 2)
    share = ((at - nodes[left]) / (nodes[left + 1] - nodes[left]))[:, None]
    return values[left] * (1 - share) + values[left + 1] * share
