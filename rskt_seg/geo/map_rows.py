"""Finished maps, read some rows at a time whatever their size."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rskt_seg.errors import LabelError
from rskt_seg.geo.georeference import ignore_georeference_warnings
from rskt_seg.geo.raster_files import BLOCK, open_part, read_part
from rskt_seg.legend import Legend

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_PIXELS = 2**20
"""Pixels of the rows that are read at once, about."""
_CACHE = 2**26


@contextmanager
def open_map(path: Path) -> Iterator["DatasetReader"]:
    """Open a finished map to read it some rows at a time.

    Args:
        path: Its file.

    Yields:
        The open raster. GDAL keeps two rows of its blocks, so that each is decoded once.

    Raises:
        ImageReadError: It cannot be read.
    """
    import rasterio

    with ignore_georeference_warnings(), open_part(path) as dataset:
        row = dataset.block_shapes[0][0] * dataset.width * np.dtype(dataset.dtypes[0]).itemsize
        with rasterio.Env(GDAL_CACHEMAX=2 * row + _CACHE):
            yield dataset


def class_rows(dataset: "DatasetReader", legend: Legend) -> Iterator[tuple[int, np.ndarray]]:
    """Read the classes of a map, about a million pixels at once.

    Args:
        dataset: The map of `open_map`.
        legend: The classes.

    Yields:
        The first row, and for each pixel (h, W) intp of these rows the index of its class in the legend; the
        number of classes for pixels without data.

    Raises:
        ImageReadError: The raster cannot be read.
        LabelError: It has values that are neither ids of the legend nor nodata.
    """
    if dataset.dtypes[0] not in ("uint8", "uint16"):
        raise LabelError(f"{dataset.name}: expected class ids (uint8 or uint16), found {dataset.dtypes[0]}")
    classes = len(legend.entries)
    index = np.full(2**16, -1, np.intp)
    index[[entry.id for entry in legend.entries]] = np.arange(classes)
    nodata = legend.nodata if dataset.nodata is None else int(dataset.nodata)
    if 0 <= nodata < len(index):
        index[nodata] = classes
    height, width = dataset.shape
    step = max(1, min(BLOCK, _PIXELS // width))
    for top in range(0, height, step):
        values = read_part(dataset, 1, (slice(top, min(top + step, height)), slice(0, width)))
        found = index[values]
        if found.min() < 0:
            unknown = np.unique(values[found < 0])
            raise LabelError(
                f"{dataset.name}: expected ids of the {classes} classes or {nodata} for nodata; found "
                f"{', '.join(map(str, unknown[:10]))} in rows {top} to {top + len(values) - 1}"
            )
        yield top, found
