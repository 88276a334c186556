"""The files of the map of an image that is held in memory: pictures, a GeoTIFF, tables of areas."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg.errors import ConfigError
from rskt_seg.geo.area import AreaSummary
from rskt_seg.geo.area_tables import write_area_tables
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.labels import write_labels
from rskt_seg.geo.names import source_name
from rskt_seg.geo.sources import as_source
from rskt_seg.legend import Legend
from rskt_seg.visualization import draw_labels, draw_legend, draw_overlay
from rskt_seg.writing import replacing

MOST_PIXELS = 2**24
"""Pixels of the largest scene that is also drawn as a picture."""


@dataclass(frozen=True, eq=False)
class ImageMap:
    """The map of an image, as its files show it.

    Attributes:
        source: Name of the image.
        ids: (H, W) ids of the legend.
        legend: The classes.
        areas: Areas of the classes, in the order of the legend.
        pixels: (H, W, 3) uint8 RGB, the image; None: pictures show the map alone.
        georeference: That of the image, or None.
        is_raster: Whether the ids are written as a GeoTIFF too.
        background: Id of the class that the overlay leaves untinted, or None.
        notices: Decisions that the user should know of, one line each.
    """

    source: str
    ids: np.ndarray
    legend: Legend
    areas: AreaSummary
    pixels: np.ndarray | None = None
    georeference: Georeference | None = None
    is_raster: bool = False
    background: int | None = None
    notices: tuple[str, ...] = ()


def result_name(source: Path | str) -> str:
    """Return the beginning of the names of the results of an image.

    Args:
        source: Its file, or a name of GDAL's own.

    Returns:
        The stem of the file.
    """
    found = as_source(source)
    return source_name(found) if isinstance(found, str) else found.stem


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Create the folder of results, unless there is one.

    Args:
        folder: The folder.

    Returns:
        Its path.

    Raises:
        ConfigError: It cannot be created.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create the output folder {path}: {error.strerror}") from error
    return path


def named(base: Path, kind: str, suffix: str) -> Path:
    """Return the file `<base>_<kind>.<suffix>`."""
    return base.with_name(f"{base.name}_{kind}.{suffix}")


def save_picture(base: Path, kind: str, picture: np.ndarray) -> Path:
    """Write a picture as PNG, whole or not at all.

    Args:
        base: Folder and beginning of the name of the file.
        kind: What it shows, the end of the name.
        picture: (H, W, 3) uint8 RGB, or (H, W) uint8 or uint16.

    Returns:
        The file.

    Raises:
        OSError: The file cannot be written.
    """
    path = named(base, kind, "png")
    with replacing(path) as partial:
        Image.fromarray(picture).save(partial, format="PNG")
    return path


def write_pictures(
    base: Path, pixels: np.ndarray | None, ids: np.ndarray, legend: Legend, background: int | None
) -> dict[str, Path]:
    """Write the map of an image as pictures: overlay, labels with their legend, legend, and ids.

    Args:
        base: Folder and beginning of the names of the files.
        pixels: (H, W, 3) uint8 RGB, the image; None: there is no overlay.
        ids: (H, W) ids of the legend.
        legend: The classes.
        background: Id of the class that the overlay leaves untinted, or None.

    Returns:
        Kind, such as "overlay" -> file.

    Raises:
        OSError: A file cannot be written.
    """
    names, colors, labels = [entry.name for entry in legend.entries], legend.colors, legend.positions(ids)
    files = {}
    if pixels is not None:
        untinted = None if background is None else int(legend.positions(np.array(background)))
        overlay = draw_overlay(pixels, labels, colors, background=untinted)
        files["overlay"] = save_picture(base, "overlay", overlay)
    picture = draw_labels(pixels, labels, names, colors, unlabelled="no data")
    files["labels"] = save_picture(base, "labels", picture)
    files["legend"] = save_picture(base, "legend", draw_legend(names, colors))
    files["ids"] = save_picture(base, "ids", ids)
    return files


def write_map(base: Path, shown: ImageMap) -> dict[str, Path]:
    """Write the map of an image: pictures, areas, and for a raster its ids on the same grid.

    Args:
        base: Folder and beginning of the names of the files.
        shown: The map.

    Returns:
        Kind, such as "overlay" or "area.csv" -> file.

    Raises:
        OSError: A file cannot be written.
    """
    files = write_pictures(base, shown.pixels, shown.ids, shown.legend, shown.background)
    if shown.is_raster:
        files["ids.tif"] = named(base, "ids", "tif")
        write_labels(files["ids.tif"], shown.ids, shown.georeference, shown.legend)
    size = shown.ids.shape[0], shown.ids.shape[1]
    write_area_tables(base, shown.source, size, shown.areas, shown.legend, shown.notices)
    return files | {kind: named(base, "area", kind[5:]) for kind in ("area.csv", "area.json")}
