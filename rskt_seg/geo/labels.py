"""Writing of label maps as GeoTIFF."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from rskt_seg.errors import LabelError
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.map_layers import class_tags, color_table
from rskt_seg.geo.names import gdal_name
from rskt_seg.geo.raster_files import BLOCK, check_place, replacing_raster
from rskt_seg.legend import Legend
from rskt_seg.wording import counted

_LAYOUT: dict[str, Any] = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": BLOCK,
    "blockysize": BLOCK,
    "compress": "deflate",
    "predictor": 2,
    "BIGTIFF": "IF_SAFER",
}


def write_labels(
    path: str | os.PathLike[str],
    labels: np.ndarray,
    georeference: Georeference | None,
    legend: Legend,
    nodata: int | None = None,
) -> None:
    """Write a label map as a single-band GeoTIFF on the grid of its image.

    The file is tiled, compressed (deflate, predictor 2), BigTIFF if needed, and has a colour table; class
    names are tags `CLASS_<id>` of the band. The dtype is that of the legend. CRS and
    transform are those of `georeference`, or its ground control points and rational polynomials if it has no
    transform. A CRS that a GeoTIFF cannot hold goes into a file `.aux.xml` beside it. All appear whole or not
    at all, and such files, overviews and masks of a former raster of this name are removed.

    Args:
        path: The file to write or to replace.
        labels: (H, W) integers, each a class id or `nodata`.
        georeference: That of the image, or None.
        legend: The classes.
        nodata: Id of pixels without a class; None: that of the legend, 255 or 65535.

    Raises:
        OSError: The file cannot be written, or not completely.
        LabelError: Labels of another shape or dtype, an id that is neither of the legend nor `nodata`, or a
            `nodata` that is not above all ids or does not fit the dtype.
    """
    nodata = legend.nodata if nodata is None else nodata
    _check(labels, legend, nodata)
    with replacing_raster(path) as partial:
        _write(partial, labels.astype(legend.dtype), georeference, legend, nodata)
        _compare(partial, labels, georeference)


def _write(
    path: Path,
    labels: np.ndarray,
    georeference: Georeference | None,
    legend: Legend,
    nodata: int,
) -> None:
    import rasterio
    from rasterio.enums import ColorInterp

    height, width = labels.shape
    profile = {**_LAYOUT, "height": height, "width": width, "count": 1, "dtype": labels.dtype}
    if georeference is not None:
        profile |= georeference.profile()
    with rasterio.open(gdal_name(path), "w", nodata=nodata, **profile) as dataset:
        # Points and colours before pixels: GDAL rewrites the header otherwise.
        if georeference is not None:
            georeference.write_points(dataset)
        dataset.write_colormap(1, dict(enumerate(color_table(legend, nodata))))
        dataset.colorinterp = (ColorInterp.palette,)
        dataset.set_band_description(1, "class id")
        dataset.update_tags(1, **class_tags(legend))
        dataset.write(labels, 1)


def _compare(path: Path, labels: np.ndarray, georeference: Georeference | None) -> None:
    """Raise an OSError or a ParseError unless a file is whole; rasterio reports no error on closing one."""
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(gdal_name(path)) as dataset:
        check_place(dataset, path, georeference)
        for start in range(0, len(labels), BLOCK):
            rows = labels[start : start + BLOCK]
            if not np.array_equal(dataset.read(1, window=Window(0, start, rows.shape[1], len(rows))), rows):
                raise OSError("its pixels are not those given")


def _check(labels: np.ndarray, legend: Legend, nodata: int) -> None:
    if labels.ndim != 2 or labels.dtype.kind not in "ui" or labels.size == 0:
        raise LabelError(
            f"labels must be a non-empty (H, W) array of integers; found {labels.shape} {labels.dtype}"
        )
    first, largest = legend.entries[-1].id + 1, np.iinfo(legend.dtype).max
    if not first <= nodata <= largest:
        raise LabelError(f"nodata must lie in {first}..{largest}, above the class ids; found {nodata}")
    known = [*(entry.id for entry in legend.entries), nodata]
    outside = labels[~np.isin(labels, known)]
    if outside.size:
        found = ", ".join(map(str, np.unique(outside)[:10]))
        pixels = counted(outside.size, "pixel")
        raise LabelError(f"labels must be ids of the legend or {nodata}; found {found} in {pixels}")
