"""Rasters of ids on the grid of their image, wherever they were drawn."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rskt_seg.errors import LabelError
from rskt_seg.geo import png
from rskt_seg.geo.deflate import deflate_fault
from rskt_seg.geo.georeference import Georeference, ignore_georeference_warnings
from rskt_seg.geo.grids import grid_difference
from rskt_seg.geo.names import gdal_name
from rskt_seg.geo.tiff import SIGNATURES

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_ANY_PLANE = "EPSG:3857"
"""The CRS of both rasters where neither has one: any in which nothing is projected."""
_LOSSY = ("jpeg", "ycbcr jpeg", "webp", "jpegxl")


class GridIds(NamedTuple):
    """A raster of ids on the grid of its image.

    Attributes:
        ids: (H, W) integers as stored.
        known: (H, W) bool, False where the raster has no data or does not reach.
        warped: Whether it was on another grid, from which it was warped by nearest neighbour.
    """

    ids: np.ndarray
    known: np.ndarray
    warped: bool


def read_ids(path: Path, georeference: Georeference | None, size: tuple[int, int]) -> GridIds:
    """Read a raster of one band of integers on the grid of its image.

    Args:
        path: The raster.
        georeference: That of the image.
        size: (H, W) of the image.

    Returns:
        The ids, read as they are if grids agree or the raster has no georeference and the size of the image.

    Raises:
        LabelError: The file is missing, damaged or no such raster; it has another size, and no georeference
            tells where it lies, or only one of both has a CRS; or it does not reach the image.
    """
    import rasterio
    from rasterio.errors import RasterioError

    _check_file(path)
    with ignore_georeference_warnings():
        try:
            with rasterio.open(gdal_name(path)) as dataset:
                _check_raster(path, dataset)
                own = Georeference.from_dataset(dataset)
                located = None not in (_transform(own), _transform(georeference))
                if dataset.shape == size and not (located and grid_difference(georeference, own, size)):
                    return GridIds(dataset.read(1), dataset.dataset_mask() > 0, False)
                if not located or own is None or georeference is None:
                    raise LabelError(
                        f"{path}: the label is {dataset.height} x {dataset.width} but its image is "
                        f"{size[0]} x {size[1]} (height x width), and not both are georeferenced; find the "
                        "label or the image that belongs here"
                    )
                return _warp(path, dataset, own, georeference, size)
        except RasterioError as error:
            raise LabelError(f"{path}: the label cannot be read; copy it again: {error}") from error


def _transform(georeference: Georeference | None) -> object:
    return None if georeference is None else georeference.transform


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise LabelError(f"{path}: the label file does not exist")
    with path.open("rb") as file:
        start, fault = file.read(8), ""
        if start[:4] in SIGNATURES:
            fault = deflate_fault(file)
        elif start == png.SIGNATURE:
            fault = png.png_fault(start + file.read())
        if fault:
            raise LabelError(f"{path}: the label is damaged or incomplete: {fault}; copy it again")


def _check_raster(path: Path, dataset: "DatasetReader") -> None:
    compression = dataset.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", "").casefold()
    if dataset.driver == "JPEG" or compression in _LOSSY:
        raise LabelError(
            f"{path}: expected a lossless label; found {compression or 'JPEG'}, which invents ids"
        )
    if dataset.count != 1:
        raise LabelError(
            f"{path}: expected one band of ids; found {dataset.count} bands: a mask of colours is read by "
            "`form: colors`"
        )
    if np.dtype(dataset.dtypes[0]).kind not in "ui":
        raise LabelError(f"{path}: expected integer ids; found {dataset.dtypes[0]} samples")


def _warp(
    path: Path,
    dataset: "DatasetReader",
    own: Georeference,
    georeference: Georeference,
    size: tuple[int, int],
) -> GridIds:
    """Warp an open raster to a grid by nearest neighbour; what it does not reach is not known."""
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    if (own.crs is None) != (georeference.crs is None):
        which = "label" if own.crs is None else "image"
        raise LabelError(
            f"{path}: the {which} has no CRS, so its place beside the other is not known; set it, such as by "
            "gdal_edit.py -a_srs EPSG:32632 FILE"
        )
    place: dict[str, Any] = {"transform": georeference.transform, "height": size[0], "width": size[1]}
    place |= {"crs": georeference.crs or _ANY_PLANE, "src_crs": own.crs or _ANY_PLANE}
    place |= {"resampling": Resampling.nearest, "add_alpha": dataset.nodata is None}
    with WarpedVRT(dataset, **place) as warped:
        ids = warped.read(1)
        known = (warped.read(2) if dataset.nodata is None else warped.read_masks(1)) > 0
    if not known.any():
        raise LabelError(f"{path}: the label has no pixel with data on its image; is it of another place?")
    return GridIds(ids, known, True)
