"""Vector files of polygons with the attributes of a map: GeoPackage, GeoJSON, GeoParquet."""

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.geo.names import gdal_name
from rskt_seg.geo.qgis import polygon_style
from rskt_seg.legend import Legend
from rskt_seg.writing import replacing, replacing_with_companions

if TYPE_CHECKING:
    from rasterio.crs import CRS

_LIBRARIES = {"gpkg": ("pyogrio",), "geojson": (), "parquet": ("pyarrow",)}
FORMATS = tuple(_LIBRARIES)
"""Formats of polygons, and the endings of their files."""
_DEGREES = ("EPSG:4326", "OGC:CRS84")


@dataclass(frozen=True)
class Features:
    """Polygons and their attributes.

    Attributes:
        geometry: (N,) object, polygons as WKB.
        class_id: (N,) int32.
        class_name: (N,) str.
        area_m2: (N,) float64 square metres on the ground, NaN if unknown.
        pixels: (N,) int64.
        mean_confidence: (N,) float64 in 0..1, NaN if unknown.
    """

    geometry: np.ndarray
    class_id: np.ndarray
    class_name: np.ndarray
    area_m2: np.ndarray
    pixels: np.ndarray
    mean_confidence: np.ndarray

    def attributes(self) -> dict[str, np.ndarray]:
        """Return name -> values of the attributes, without geometry."""
        return {name: values for name, values in vars(self).items() if name != "geometry"}


def vector_library(name: str) -> ModuleType:
    """Import a library that vector files need.

    Args:
        name: Such as "shapely".

    Returns:
        The library.

    Raises:
        ConfigError: It is not installed; the message names the extra.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = "pyarrow" if name.startswith("pyarrow") else "'rskt_seg[vector]'"
        raise ConfigError(f"polygons need an optional package: pip install {package} ({error})") from error


def has_vector_library() -> bool:
    """Return whether GeoPackages can be written: whether the extra `vector` is installed."""
    return all(find_spec(name) is not None for name in ("pyogrio", "shapely"))


def check_format(name: str, form: str, crs: "CRS | None") -> None:
    """Check that polygons can be written in a format, before there are any.

    Args:
        name: The map, for messages.
        form: One of `FORMATS`.
        crs: That of the map, or None.

    Raises:
        ConfigError: A library is not installed, or GeoJSON is asked for in another CRS.
    """
    for library in ("shapely", *_LIBRARIES[form]):
        vector_library(library)
    if form == "geojson":
        _check_degrees(name, crs)


def _check_degrees(name: str | Path, crs: "CRS | None") -> None:
    if crs is None or ":".join(crs.to_authority() or ()) not in _DEGREES:
        raise ConfigError(
            f"{name}: GeoJSON holds longitudes and latitudes (EPSG:4326), and the map is "
            f"{'without CRS' if crs is None else f'in {crs.to_string()[:60]}'}; write a .gpkg instead"
        )


@contextmanager
def vector_writer(
    path: str | os.PathLike[str], crs: "CRS | None", legend: Legend
) -> Iterator[Callable[[Features], int]]:
    """Write a vector file whole or not at all.

    Args:
        path: The file to write or to replace: `.gpkg`, `.geojson` or `.parquet`.
        crs: That of the geometries, or None. GeoJSON is in EPSG:4326 always.
        legend: The classes, for the style that a GeoPackage holds.

    Yields:
        A function that writes some more features and returns their number. It is called at least once.

    Raises:
        ConfigError: Another format, a library that is not installed, or GeoJSON in another CRS.
        OSError: The file cannot be written, or not completely.
    """
    path = Path(path)
    writers = {".gpkg": _geopackage, ".geojson": _geojson, ".json": _geojson, ".parquet": _geoparquet}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise ConfigError(f"{path}: expected a file of polygons .gpkg, .geojson or .parquet")
    vector_library("shapely")
    with writer(path, crs, legend) as write:
        yield write


@contextmanager
def _geopackage(path: Path, crs: "CRS | None", legend: Legend) -> Iterator[Callable[[Features], int]]:
    pyogrio = vector_library("pyogrio")
    vector_library("pyogrio.raw")
    count, layer = 0, _layer_name(path.stem)
    with (
        replacing_with_companions(path, ()) as partial,
        _uncut_name(partial) as name,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="'crs' was not provided")

        def write(features: Features) -> int:
            nonlocal count
            attributes = features.attributes()
            pyogrio.raw.write(
                name, features.geometry, list(attributes.values()), list(attributes),
                layer=layer, driver="GPKG", geometry_type="Polygon", append=os.path.exists(name),
                crs=None if crs is None else crs.to_wkt(version="WKT2_2019"),
            )  # fmt: skip
            count += len(features.pixels)
            return len(features.pixels)

        try:
            yield write
            style = _style_row(layer, polygon_style(legend, "class_id"))
            pyogrio.raw.write(
                name, None, list(style.values()), list(style), layer="layer_styles", driver="GPKG"
            )
            found = pyogrio.read_info(name, layer=layer)["features"]
            if found != count:
                raise OSError(f"it has {found} of {count} polygons")
        except ImageReadError:
            raise
        except (RuntimeError, OSError) as error:  # those of pyogrio
            raise OSError(
                f"{path} could not be written completely ({error}); check the space left on its disk"
            ) from error


@contextmanager
def _uncut_name(path: Path) -> Iterator[str]:
    """Give the GeoPackage that is written a name without ; and !, at which pyogrio cuts names like URLs."""
    whole = path.absolute()
    if not set(";!") & set(str(whole)):
        yield gdal_name(path)
        return
    with TemporaryDirectory() as folder:
        link = Path(folder, "folder")
        link.symlink_to(whole.parent, target_is_directory=True)
        yield gdal_name(link / "map.gpkg")
        os.replace(link / "map.gpkg", path)


def _layer_name(stem: str) -> str:
    """Return a name that GDAL takes for a layer of a GeoPackage."""
    name = re.sub(r"^\W+", "", stem) or "polygons"
    return f"map_{name}" if name.lower().startswith("gpkg") else name  # the beginning of its own tables


def _style_row(layer: str, style: str) -> dict[str, np.ndarray]:
    """Return the columns of the table in which QGIS looks for the style of a layer."""
    texts = {
        "f_table_catalog": "", "f_table_schema": "", "f_table_name": layer, "f_geometry_column": "geom",
        "styleName": layer, "styleQML": style, "styleSLD": "", "description": "", "owner": "", "ui": "",
    }  # fmt: skip
    row = {name: np.array([text], object) for name, text in texts.items()}
    row["useAsDefault"] = np.array([True])
    row["update_time"] = np.array(["now"], "datetime64[ms]")
    return row


@contextmanager
def _geojson(path: Path, crs: "CRS | None", legend: Legend) -> Iterator[Callable[[Features], int]]:
    """Write GeoJSON as RFC 7946 has it, with all digits of the coordinates, a feature a line."""
    _check_degrees(path, crs)
    shapely = vector_library("shapely")
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        separator = '{"type": "FeatureCollection", "features": [\n'

        def write(features: Features) -> int:
            nonlocal separator
            attributes = features.attributes()
            geometries = shapely.to_geojson(shapely.from_wkb(features.geometry))
            for geometry, *values in zip(geometries, *(a.tolist() for a in attributes.values()), strict=True):
                known = [None if value != value else value for value in values]  # NaN
                properties = json.dumps(dict(zip(attributes, known, strict=True)), ensure_ascii=False)
                file.write(
                    f'{separator}{{"type": "Feature", "properties": {properties}, "geometry": {geometry}}}'
                )
                separator = ",\n"
            return len(features.pixels)

        yield write
        file.write("\n]}\n" if separator == ",\n" else f"{separator}]}}\n")


@contextmanager
def _geoparquet(path: Path, crs: "CRS | None", legend: Legend) -> Iterator[Callable[[Features], int]]:
    """Write GeoParquet 1.0 (encoding WKB)."""
    arrow, parquet = vector_library("pyarrow"), vector_library("pyarrow.parquet")
    system: dict[str, Any] | None = None if crs is None else crs.to_dict(projjson=True)
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": system,
        "orientation": "counterclockwise",
    }
    about = {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": column}}
    kinds = {
        "class_id": arrow.int32(), "class_name": arrow.string(), "area_m2": arrow.float64(),
        "pixels": arrow.int64(), "mean_confidence": arrow.float64(), "geometry": arrow.binary(),
    }  # fmt: skip
    schema = arrow.schema(list(kinds.items()), metadata={"geo": json.dumps(about)})
    with replacing(path) as partial, parquet.ParquetWriter(partial, schema) as file:

        def write(features: Features) -> int:
            columns = {**features.attributes(), "geometry": features.geometry}
            arrays = [arrow.array(columns[name], kind, from_pandas=True) for name, kind in kinds.items()]
            file.write_table(arrow.table(arrays, schema=schema))
            return len(features.pixels)

        yield write
