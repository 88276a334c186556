"""Polygons of the areas of a finished map."""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.geo.area import PixelAreas, pixel_areas
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.map_layers import NO_SHARE, SHARE_SCALE
from rskt_seg.geo.map_rows import class_rows, open_map
from rskt_seg.geo.raster_files import open_part, read_part
from rskt_seg.geo.regions import Regions, RegionStream
from rskt_seg.geo.rings import Corners, Rings, insert_points
from rskt_seg.geo.tracing import trace
from rskt_seg.geo.vectors import Features, vector_library, vector_writer
from rskt_seg.geo.wkb import polygon_binaries
from rskt_seg.legend import Legend
from rskt_seg.wording import counted

if TYPE_CHECKING:
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader

_AREA = re.compile(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*(px|m2|m²|)\s*", re.IGNORECASE)
_BATCH = 20_000
"""Polygons that are written at once, about."""


@dataclass(frozen=True)
class PolygonSummary:
    """What `write_polygons` wrote.

    Attributes:
        polygons: Their number.
        notices: What was decided on the user's behalf, one line each.
    """

    polygons: int
    notices: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Polygons:
    """What `find_polygons` found.

    Attributes:
        features: The polygons, here as objects of shapely, and their attributes.
        crs: Their CRS, as an object of rasterio; None for polygons in pixels, whose y is minus the row.
        notices: What was decided on the user's behalf, one line each.
    """

    features: Features
    crs: "CRS | None"
    notices: tuple[str, ...]


@dataclass(frozen=True)
class MinimumArea:
    """An area below which polygons are merged into their neighbours.

    Attributes:
        value: Pixels or square metres; at least 0.
        in_metres: Whether it is in square metres.
    """

    value: float
    in_metres: bool

    @classmethod
    def parse(cls, text: str | float) -> "MinimumArea":
        """Read an area as users write it.

        Args:
            text: Pixels, such as "12 px", or square metres, such as "50", "50 m2" or 50.

        Returns:
            The area.

        Raises:
            ConfigError: It is something else.
        """
        match = _AREA.fullmatch(str(text))
        try:
            value = float(match[1]) if match else np.nan
        except ValueError:
            value = np.nan
        if match is None or not np.isfinite(value):
            raise ConfigError(
                f"a minimum area must be square metres, such as 50, or pixels, as '12 px'; found {text!r}"
            )
        return cls(value, match[2].lower() != "px")


def write_polygons(
    path: str | os.PathLike[str],
    labels_path: Path,
    legend: Legend,
    *,
    confidence_path: Path | None = None,
    min_area: str | float | None = None,
    simplify: float | None = None,
    skip_ids: Collection[int] = (),
) -> PolygonSummary:
    """Write the areas of equal class of a map as polygons, in bounded memory.

    Pixels are connected by their sides, and no polygon is cut anywhere. Attributes are `class_id`,
    `class_name`, `area_m2`, `pixels` and `mean_confidence`; areas are the sums of those of the pixels, as in
    `measure_raster`, to which they add up exactly, and NULL where they are unknown. Polygons lie in the
    CRS of the map; those of a map without transform are in pixels with rows counted downwards from 0 (y is
    minus the row), where QGIS shows such a raster.

    With `min_area`, smaller areas get the class with which they share the longest border, among those
    neighbours that are large enough (`rskt_seg.geo.sieve.decide`), before they become polygons; those that
    have none stay, and a notice counts them. Memory is
    that of the areas which have pixels in the rows at hand, and of the small ones that touch them; with
    `simplify` it is that of all polygons.

    Args:
        path: The file to write or to replace: `.gpkg`, `.geojson` (maps in EPSG:4326) or `.parquet`.
        labels_path: A raster whose first band holds ids of the legend.
        legend: The classes.
        confidence_path: A raster of the same size with shares 0..254 (see `MapLayer.confidence`).
        min_area: See `MinimumArea.parse`; None for all areas.
        simplify: Tolerance in units of the CRS: about the side of the triangles that are cut off. Borders
            between polygons stay common to both. Areas and pixels are those before. None to follow the
            borders of pixels.
        skip_ids: Ids of classes that are not written.

    Returns:
        What was written.

    Raises:
        ConfigError: A format, an optional package or an option is missing or wrong.
        ImageReadError: A raster cannot be read, or the two differ in size.
        LabelError: The map has values that are no ids of the legend.
        OSError: The file cannot be written, or not completely.
    """
    with _polygons(labels_path, legend, confidence_path, min_area, simplify, skip_ids) as found:
        with vector_writer(path, found.outlines.crs, legend) as write:
            count = sum(map(write, found.batches))
        return PolygonSummary(count, found.notices)


def find_polygons(
    labels_path: Path,
    legend: Legend,
    *,
    confidence_path: Path | None = None,
    min_area: str | float | None = None,
    simplify: float | None = None,
    skip_ids: Collection[int] = (),
) -> Polygons:
    """Return the polygons that `write_polygons` would write, all of them in memory.

    Args:
        labels_path: As there, like all arguments.
        legend: The classes.
        confidence_path: A raster of shares.
        min_area: The smallest area.
        simplify: Tolerance in units of the CRS.
        skip_ids: Ids of classes that are left out.

    Returns:
        The polygons.

    Raises:
        RSKTSegError: As `write_polygons`.
    """
    with _polygons(labels_path, legend, confidence_path, min_area, simplify, skip_ids) as found:
        batches = [vars(features) for features in found.batches]
        merged = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        merged["geometry"] = vector_library("shapely").from_wkb(merged["geometry"])
        return Polygons(Features(**merged), found.outlines.crs, found.notices)


class _Found(NamedTuple):
    """Polygons as they are found: where they lie, some at a time, and what was decided on the areas."""

    outlines: "_Outlines"
    batches: Iterator[Features]
    stream: RegionStream
    areas: PixelAreas

    @property
    def notices(self) -> tuple[str, ...]:
        """What was decided on the user's behalf, once all batches were seen."""
        small = self.stream.small
        kept = f"{counted(small, 'polygon')} below the minimum area stay: they have no neighbour above it"
        return (*self.areas.notices, *self.outlines.notices, *([kept] if small else []))


@contextmanager
def _polygons(
    labels_path: Path,
    legend: Legend,
    confidence_path: Path | None,
    min_area: str | float | None,
    simplify: float | None,
    skip_ids: Collection[int],
) -> Iterator[_Found]:
    """Open a map and yield its polygons, at least one batch of them."""
    with open_map(labels_path) as labels, _open_scores(confidence_path, labels) as scores:
        place = Georeference.from_dataset(labels)
        areas = pixel_areas(place, labels.shape)
        stream = _region_stream(labels, legend, areas, min_area, simplify, skip_ids)
        outlines = _Outlines(legend, place, areas.method is not None)
        found = _trace_all(_regions(labels, scores, legend, areas, stream), outlines.clockwise)
        yield _Found(outlines, outlines.features(found, stream, simplify), stream, areas)


def _region_stream(
    labels: "DatasetReader",
    legend: Legend,
    areas: PixelAreas,
    min_area: str | float | None,
    simplify: float | None,
    skip_ids: Collection[int],
) -> RegionStream:
    """Check the options of `write_polygons` and return what finds the areas of the map by them."""
    minimum = MinimumArea(0, False) if min_area is None else MinimumArea.parse(min_area)
    if minimum.in_metres and areas.method is None:
        raise ConfigError(
            f"{labels.name}: the minimum area {min_area} is in square metres, but areas of this map are "
            "unknown; give it in pixels, such as '12 px'"
        )
    if simplify is not None and not 0 < simplify < np.inf:
        raise ConfigError(f"the tolerance of simplification must be above 0; found {simplify}")
    if unknown := sorted(set(skip_ids) - {entry.id for entry in legend.entries}):
        raise ConfigError(f"the ids to leave out must be those of classes of the map; found {unknown}")
    return RegionStream(
        labels.width,
        len(legend.entries),
        minimum=minimum.value,
        in_metres=minimum.in_metres,
        skipped=[k for k, entry in enumerate(legend.entries) if entry.id in set(skip_ids)],
        with_junctions=simplify is not None,
    )


@contextmanager
def _open_scores(path: Path | None, labels: "DatasetReader") -> "Iterator[DatasetReader | None]":
    """Open the confidence of a map, if there is a path."""
    if path is None:
        yield None
        return
    with open_part(path) as scores:
        if (scores.shape, scores.dtypes[0]) != (labels.shape, "uint8"):
            raise ImageReadError(
                f"{path}: expected uint8 shares of {labels.shape} px as {labels.name} has; found "
                f"{scores.dtypes[0]} of {scores.shape}"
            )
        yield scores


def _regions(
    labels: "DatasetReader",
    scores: "DatasetReader | None",
    legend: Legend,
    areas: PixelAreas,
    stream: RegionStream,
) -> Iterator[tuple[Regions, list[Corners]]]:
    """Read a map and yield its areas as they are complete."""
    columns = np.arange(labels.width)
    for top, rows in class_rows(labels, legend):
        at = np.arange(top, top + len(rows))
        metres = None if areas.method is None else areas.block(at, columns)
        shares = None
        if scores is not None:
            values = read_part(scores, 1, (slice(top, top + len(rows)), slice(0, labels.width)))
            shares = np.where(values == NO_SHARE, np.nan, values)
        yield stream.add(rows, metres, shares)
    yield stream.finish()


def _trace_all(
    found: Iterable[tuple[Regions, list[Corners]]], clockwise: bool
) -> Iterator[tuple[Regions, Rings]]:
    """Yield areas with their rings, about `_BATCH` at once, and at least once."""
    regions, corners = list[Regions](), list[Corners]()
    waiting, written = 0, False
    for more, theirs in found:
        regions.append(more)
        corners += theirs
        waiting += len(more.classes)
        if waiting >= _BATCH:
            yield _traced(regions, corners, clockwise)
            waiting, written = 0, True
    if waiting or not written:
        yield _traced(regions, corners, clockwise)


def _traced(regions: list[Regions], corners: list[Corners], clockwise: bool) -> tuple[Regions, Rings]:
    """Trace what is waiting, which then waits no more."""
    found = Regions(*map(np.concatenate, zip(*(vars(each).values() for each in regions), strict=True)))
    rings = trace(corners, clockwise)
    regions.clear()
    corners.clear()
    return found, rings


class _Outlines:
    """Turns areas of pixels into polygons on the ground with attributes.

    Attributes:
        crs: That of the polygons, or None.
        clockwise: Whether outer rings run clockwise in the raster, so that they do not on the ground.
        notices: Where the polygons lie, if not in the CRS of the map.
    """

    def __init__(self, legend: Legend, place: Georeference | None, known_areas: bool) -> None:
        from affine import Affine

        self._ids = np.array([entry.id for entry in legend.entries], np.int32)
        self._names = np.array([entry.name for entry in legend.entries], object)
        self._known_areas = known_areas
        self.crs: CRS | None = None
        self.notices: tuple[str, ...] = ()
        if place is None or place.transform is None:
            self._transform = Affine(1, 0, 0, 0, -1, 0)
            self.notices = ("the map has no transform: its polygons are in pixels, y is minus the row",)
        else:
            self.crs, self._transform = place.crs, place.transform
        self.clockwise = self._transform.determinant > 0

    def features(
        self, found: Iterable[tuple[Regions, Rings]], stream: RegionStream, simplify: float | None
    ) -> Iterator[Features]:
        """Yield areas as polygons with their attributes; simpler ones keep their borders in common."""
        if simplify is None:
            # Nothing but what is being written stays in memory meanwhile.
            yield from starmap(self._described, found)
            return
        shapely = vector_library("shapely")
        batches = list(found)
        junctions = np.concatenate([np.zeros((0, 2), np.int64), *stream.junctions])
        parts = [
            shapely.from_wkb(polygon_binaries(insert_points(rings, *junctions.T), self._transform))
            for _, rings in batches
        ]
        simple = shapely.coverage_simplify(np.concatenate(parts), simplify)
        ends = np.cumsum([len(part) for part in parts])[:-1]
        for (regions, _), part in zip(batches, np.split(simple, ends), strict=True):
            yield self._with_attributes(regions, shapely.to_wkb(part))

    def _described(self, regions: Regions, rings: Rings) -> Features:
        return self._with_attributes(regions, polygon_binaries(rings, self._transform))

    def _with_attributes(self, regions: Regions, geometries: np.ndarray) -> Features:
        with np.errstate(invalid="ignore"):
            confidence = regions.scores / regions.scored * SHARE_SCALE  # NaN where nothing was scored
        metres = regions.metres if self._known_areas else np.full(len(regions.metres), np.nan)
        ids, names = self._ids[regions.classes], self._names[regions.classes]
        return Features(geometries, ids, names, metres, regions.pixels, confidence)
