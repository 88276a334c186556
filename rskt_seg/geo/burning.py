"""Polygons burned into rasters of ids: from vector files in any CRS, or in pixels of the image."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.names import gdal_name
from rskt_seg.geo.vectors import vector_library
from rskt_seg.windows import Window

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.crs import CRS

_POLYGONS = (3, 6)  # shapely's numbers of Polygon and MultiPolygon
_NULL = -1
_EDGES = 64
"""Edges are cut so that one spans at most this part of an image's diagonal before they are projected."""


@dataclass(frozen=True, eq=False)
class PolygonLayer:
    """The polygons of a layer of a vector file.

    Attributes:
        path: The file.
        geometry: (N,) shapely polygons and multipolygons.
        values: (N,) the attribute of each as text; None without an attribute.
        crs: The CRS of the coordinates.
        empty: How many features without a geometry were passed over.
    """

    path: Path
    geometry: np.ndarray
    values: tuple[str, ...] | None
    crs: "CRS"
    empty: int


def read_polygons(path: Path, layer: str | None, attribute: str | None, crs: str | None) -> PolygonLayer:
    """Read the polygons of a layer of a GeoPackage, GeoJSON, Shapefile, FlatGeobuf or the like.

    Args:
        path: The file.
        layer: Its layer; None for the only one.
        attribute: The attribute to read with them; None for none.
        crs: The CRS of the coordinates if the file states none.

    Returns:
        The polygons.

    Raises:
        DatasetError: The file is missing or no vector file; it has several layers and none is named, or not
            the one that is; it has no such attribute, no CRS or another than `crs`, no features, or features
            that are no polygons.
        ConfigError: The extra `vector` is not installed, or `crs` is none.
    """
    pyogrio, shapely = vector_library("pyogrio"), vector_library("shapely")
    vector_library("pyogrio.raw")
    if not path.is_file():
        raise DatasetError(f"{path}: the vector file does not exist")
    name = gdal_name(path)
    try:
        layers = [str(each) for each in pyogrio.list_layers(name)[:, 0] if each != "layer_styles"]
        chosen = _choose_layer(path, layers, layer)
        facts = pyogrio.read_info(name, layer=chosen, force_feature_count=True)
        if not facts["features"]:
            raise DatasetError(f"{path}: layer {chosen} has no features; is it the right layer?")
        fields = [str(each) for each in facts["fields"]]
        if attribute is not None and attribute not in fields:
            raise DatasetError(
                f"{path}: layer {chosen} has no attribute {attribute!r}; present: "
                f"{', '.join(fields) or 'none'}"
            )
        meta, _, wkb, columns = pyogrio.raw.read(
            name, layer=chosen, columns=[] if attribute is None else [attribute], force_2d=True
        )
    except pyogrio.errors.DataSourceError as error:
        raise DatasetError(f"{path} cannot be read as a vector file: {error}") from error
    if wkb is None:
        raise DatasetError(f"{path}: layer {chosen} has no geometry; is it the right layer?")
    system = _choose_crs(f"{path}: layer {chosen}", meta["crs"], crs)
    geometry = shapely.from_wkb(wkb)
    there = _find_polygons(f"{path}: layer {chosen}", geometry)
    values = None
    if attribute is not None:
        values = tuple(_as_text(value) for value, kept in zip(columns[0], there, strict=True) if kept)
    return PolygonLayer(path, geometry[there], values, system, int((~there).sum()))


def _find_polygons(where: str, geometry: np.ndarray) -> np.ndarray:
    """Return which geometries (N,) there are, (N,) bool, and refuse those that are no polygons."""
    shapely = vector_library("shapely")
    kinds = shapely.get_type_id(geometry)
    there: np.ndarray = (kinds != _NULL) & ~shapely.is_empty(geometry)
    if others := Counter(each.geom_type for each in geometry[there & ~np.isin(kinds, _POLYGONS)]):
        found = ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))
        raise DatasetError(
            f"{where} has features that are no polygons: {found}; buffer lines and points to the width of "
            "what they show, or leave them out"
        )
    return there


def _choose_layer(path: Path, layers: list[str], layer: str | None) -> str:
    if layer is not None and layer not in layers:
        raise DatasetError(f"{path} has no layer {layer!r}; present: {', '.join(layers) or 'none'}")
    if layer is None and len(layers) != 1:
        raise DatasetError(
            f"{path} has {len(layers)} layers ({', '.join(layers) or 'none'}); name one by `layer`"
        )
    return layer or layers[0]


def _choose_crs(where: str, stated: str | None, asked: str | None) -> "CRS":
    """Return the CRS that a layer states, else the one that is asked for; both must not differ."""
    from rasterio.crs import CRS

    given = stated or asked
    if given is None:
        raise DatasetError(
            f"{where} has no CRS, so its place on the images is not known; state it, such as "
            "`crs: EPSG:32632`"
        )
    try:
        system, other = CRS.from_user_input(given), CRS.from_user_input(asked or given)
    except ValueError as error:
        raise ConfigError(f"{where}: {asked or given!r} is no CRS: {error}") from error
    if system != other:
        raise DatasetError(
            f"{where} states the CRS {system.to_string()}, not {asked}: `crs` is for files that state none; "
            "leave it out, or correct the file"
        )
    return system


def _as_text(value: Any) -> str:
    """Return a value of an attribute as users write it: 3.0 and 3 are the same."""
    if value is None or value != value:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


class PolygonIds:
    """The polygons of a layer, each with an id or none, to be burned on the grids of images.

    Args:
        layer: The polygons.
        ids: (N,) the id of each polygon.
        order: Ids from the least to the most important: of several polygons on a pixel, the last wins.
        all_touched: Whether pixels that a polygon touches belong to it; else those whose centre it holds.
    """

    def __init__(
        self, layer: PolygonLayer, ids: Sequence[int], order: Sequence[int], all_touched: bool
    ) -> None:
        self._layer, self._ids = layer, np.array(ids, np.int64)
        self._rank = {number: place for place, number in enumerate(order)}
        self._all_touched = all_touched
        self._tree = vector_library("shapely").STRtree(layer.geometry)

    def on(self, place: Georeference, size: tuple[int, int]) -> "PolygonsOnImage":
        """Return the polygons whose boxes reach an image.

        Args:
            place: Where the image lies; it has a CRS and a transform.
            size: (H, W) of the image.

        Returns:
            The polygons on the grid of the image.

        Raises:
            DatasetError: They cannot be projected to the CRS of the image.
        """
        shapely = vector_library("shapely")
        assert place.transform is not None and place.crs is not None
        outline = self._outline(place, size)
        found = np.sort(self._tree.query(shapely.envelope(outline)))
        found = found[np.argsort([self._rank[k] for k in self._ids[found].tolist()], kind="stable")]
        polygons = self._layer.geometry[found]
        if self._layer.crs != place.crs:
            left, bottom, right, top = shapely.bounds(outline)
            longest = max(np.hypot(right - left, top - bottom) / _EDGES, 1e-9)
            polygons = shapely.transform(
                shapely.segmentize(polygons, longest),
                lambda points: _project(points, self._layer.crs, place.crs),
            )
        if not np.isfinite(shapely.bounds(polygons)).all():
            raise DatasetError(
                f"{self._layer.path}: polygons on an image cannot be projected from {self._layer.crs} to "
                f"{place.crs}; check both CRS"
            )
        return PolygonsOnImage(polygons, self._ids[found], place, self._all_touched)

    def count_on(self, place: Georeference, size: tuple[int, int]) -> int:
        """Return the number of polygons that share ground with an image; arguments as of `on`."""
        return len(self._tree.query(self._outline(place, size), predicate="intersects"))

    def describe(self, place: Georeference, size: tuple[int, int]) -> str:
        """Return where the polygons and an image lie, in the CRS of the polygons; arguments as of `on`."""
        shapely = vector_library("shapely")
        texts = [
            ", ".join(f"{each:.10g}" for each in shapely.bounds(geometry))
            for geometry in (
                shapely.union_all(shapely.envelope(self._layer.geometry)),
                self._outline(place, size),
            )
        ]
        return f"in {self._layer.crs} polygons reach over ({texts[0]}), the first image over ({texts[1]})"

    def _outline(self, place: Georeference, size: tuple[int, int]) -> Any:
        """Return the outline of an image in the CRS of the polygons, with points along its sides."""
        shapely, (height, width) = vector_library("shapely"), size
        assert place.transform is not None and place.crs is not None
        frame = shapely.segmentize(shapely.box(0, 0, width, height), max(height, width) / _EDGES)
        on_ground = shapely.transform(frame, lambda points: np.array(place.transform * points.T).T)
        return shapely.transform(on_ground, lambda points: _project(points, place.crs, self._layer.crs))


class PolygonsOnImage:
    """Polygons on the grid of an image, to be burned in windows of it.

    Args:
        geometry: (N,) shapely polygons and multipolygons in the CRS of the image; of several on a pixel the
            last wins. The parts of one count each for itself.
        ids: (N,) the id of each.
        place: Where the image lies.
        all_touched: As in `PolygonIds`.
    """

    def __init__(self, geometry: np.ndarray, ids: np.ndarray, place: Georeference, all_touched: bool) -> None:
        shapely = vector_library("shapely")
        assert place.transform is not None
        self._parts, of = shapely.get_parts(geometry, return_index=True)
        self._ids, self._transform, self._all_touched = ids[of], place.transform, all_touched
        self._tree = shapely.STRtree(self._parts)

    def burn(self, window: Window, fill: int) -> np.ndarray:
        """Burn the polygons.

        Args:
            window: The part of the image, px.
            fill: The id outside of all polygons.

        Returns:
            Ids (h, w) uint8.
        """
        from affine import Affine

        transform = self._transform * Affine.translation(window.left, window.top)
        # A pixel more on each side, which polygons may touch.
        corners = [(x, y) for x in (-1, window.width + 1) for y in (-1, window.height + 1)]
        xs, ys = zip(*(transform * corner for corner in corners), strict=True)
        around = vector_library("shapely").box(min(xs), min(ys), max(xs), max(ys))
        found = np.sort(self._tree.query(around))
        shapes = [(each, int(k)) for each, k in zip(self._parts[found], self._ids[found], strict=True)]
        return burn_shapes(shapes, (window.height, window.width), fill, transform, self._all_touched)


def _project(points: np.ndarray, source: "CRS", target: "CRS") -> np.ndarray:
    """Return points (N, 2) of a CRS in another one."""
    from rasterio.warp import transform

    if source == target:
        return points
    return np.array(transform(source, target, points[:, 0], points[:, 1])).T


def burn_shapes(
    shapes: Sequence[tuple[Any, int]],
    size: tuple[int, int],
    fill: int,
    transform: "Affine | None" = None,
    all_touched: bool = False,
) -> np.ndarray:
    """Burn polygons into a raster.

    Args:
        shapes: Polygons (shapely, or mappings as in GeoJSON) with their ids; the last one on a pixel wins.
        size: (H, W) of the raster.
        fill: The id outside of all polygons.
        transform: Affine map from (column, row) to the coordinates; None for coordinates in pixels, of which
            the first one reaches from 0 to 1.
        all_touched: Whether pixels that a polygon touches belong to it; else those whose centre it holds.

    Returns:
        Ids (H, W) uint8.
    """
    from affine import Affine
    from rasterio.features import rasterize

    if not shapes:
        return np.full(size, fill, np.uint8)
    return rasterize(
        shapes,
        size,
        fill=fill,
        transform=transform or Affine.identity(),
        all_touched=all_touched,
        dtype="uint8",
    )


def burn_pixels(shapes: Sequence[tuple[Any, int]], window: Window, fill: int) -> np.ndarray:
    """Burn polygons of pixel coordinates of an image into a window of it.

    Args:
        shapes: As for `burn_shapes`.
        window: The window.
        fill: The id outside of all polygons.

    Returns:
        Ids (h, w) uint8.
    """
    from affine import Affine

    shift = Affine.translation(window.left, window.top)
    return burn_shapes(shapes, (window.height, window.width), fill, shift)
