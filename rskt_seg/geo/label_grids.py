"""Rasters of ids on the grid of their image, wherever they were drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
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
from rskt_seg.windows import Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.vrt import WarpedVRT

_ANY_PLANE = "EPSG:3857"
"""The CRS of both rasters where neither has one: any in which nothing is projected."""
_CACHE_BYTES = 2**26
"""Decoded blocks that GDAL keeps of an open label."""
_LOSSY = ("jpeg", "ycbcr jpeg", "webp", "jpegxl")


class GridIds(NamedTuple):
    """A part of a raster of ids on the grid of its image.

    Attributes:
        ids: (h, w) integers as stored.
        known: (h, w) bool, False where the raster has no data or does not reach.
    """

    ids: np.ndarray
    known: np.ndarray


class IdGrid:
    """An open raster of ids, read in windows of its image.

    Args:
        dataset: The raster on the grid of the image, in rasterio.
        warped: Whether it was on another grid, from which it is warped by nearest neighbour.
    """

    def __init__(self, dataset: "DatasetReader | WarpedVRT", warped: bool) -> None:
        self._dataset, self.warped = dataset, warped

    def read(self, window: Window) -> GridIds:
        """Return the ids of a window, and where they are known."""
        from rasterio.windows import Window as GdalWindow

        dataset = self._dataset
        there = GdalWindow(window.left, window.top, window.width, window.height)
        ids = dataset.read(1, window=there)
        if not self.warped:
            return GridIds(ids, dataset.dataset_mask(window=there) > 0)
        return GridIds(ids, dataset.read(2, window=there) > 0)


@contextmanager
def open_ids(path: Path, georeference: Georeference | None, size: tuple[int, int]) -> Iterator[IdGrid]:
    """Open a raster of one band of integers on the grid of its image.

    Args:
        path: The raster.
        georeference: That of the image.
        size: (H, W) of the image.

    Yields:
        The raster, as it is if grids agree or it has no georeference and the size of the image. What is read
        does not depend on the windows.

    Raises:
        LabelError: The file is missing or no such raster; it has another size, and no georeference tells
            where it lies, or only one of both has a CRS; or reading it fails.
    """
    import rasterio
    from rasterio.errors import RasterioError

    if not path.is_file():
        raise LabelError(f"{path}: the label file does not exist")
    with ignore_georeference_warnings(), rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
        try:
            with rasterio.open(gdal_name(path)) as dataset:
                _check_raster(path, dataset)
                own = Georeference.from_dataset(dataset)
                located = None not in (_transform(own), _transform(georeference))
                if dataset.shape == size and not (located and grid_difference(georeference, own, size)):
                    yield IdGrid(dataset, False)
                    return
                if not located or own is None or georeference is None:
                    raise LabelError(
                        f"{path}: the label is {dataset.height} x {dataset.width} but its image is "
                        f"{size[0]} x {size[1]} (height x width), and not both are georeferenced; find the "
                        "label or the image that belongs here"
                    )
                with _warped(path, dataset, own, georeference, size) as warped:
                    yield IdGrid(warped, True)
        except RasterioError as error:
            raise LabelError(f"{path}: the label cannot be read; copy it again: {error}") from error


def _transform(georeference: Georeference | None) -> object:
    return None if georeference is None else georeference.transform


def check_whole(path: Path) -> None:
    """Check by the checksums of its format that a label is complete.

    Args:
        path: The raster.

    Raises:
        LabelError: The file is missing, damaged or incomplete.
    """
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


def _warped(
    path: Path,
    dataset: "DatasetReader",
    own: Georeference,
    georeference: Georeference,
    size: tuple[int, int],
) -> "WarpedVRT":
    """Return an open raster on another grid by nearest neighbour; what it does not reach is not known."""
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
    # Bands are read one by one, so that GDAL warps whole blocks, which lie the same whatever window is read:
    # it interpolates places along the rows of what it warps.
    place |= {"resampling": Resampling.nearest, "add_alpha": True}
    return WarpedVRT(dataset, **place)
