"""Finished maps, read some rows at a time whatever their size."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from rskt_seg.errors import LabelError
from rskt_seg.geo.raster_files import BLOCK, read_part
from rskt_seg.legend import Legend

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_PIXELS = 2**20
"""Pixels of some rows, about."""


def class_rows(
    dataset: "DatasetReader", legend: Legend, step: int | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Read the classes of a map some rows at a time.

    Args:
        dataset: The open raster.
        legend: The classes.
        step: Rows to read at once; None: as many as make about a million pixels.

    Yields:
        The first row, and for each pixel (h, W) intp of these rows the index of its class in the legend; the
        number of classes for pixels without data.

    Raises:
        ImageReadError: The raster cannot be read.
        LabelError: It has values that are neither ids of the legend nor nodata.
    """
    import rasterio

    if dataset.dtypes[0] not in ("uint8", "uint16"):
        raise LabelError(f"{dataset.name}: expected class ids (uint8 or uint16), found {dataset.dtypes[0]}")
    classes = len(legend.entries)
    index = np.full(2**16, -1, np.intp)
    index[[entry.id for entry in legend.entries]] = np.arange(classes)
    nodata = legend.nodata if dataset.nodata is None else int(dataset.nodata)
    if 0 <= nodata < len(index):
        index[nodata] = classes
    height, width = dataset.shape
    step = max(1, min(BLOCK, _PIXELS // width)) if step is None else step
    # Blocks are decoded once although each holds the pixels of several steps.
    cache = 2 * dataset.block_shapes[0][0] * width * index.itemsize + 2**24
    with rasterio.Env(GDAL_CACHEMAX=cache):
        for top in range(0, height, step):
            rows = slice(top, min(top + step, height))
            values = read_part(dataset, 1, (rows, slice(0, width)))
            found = index[values]
            if found.min() < 0:
                unknown = np.unique(values[found < 0])
                raise LabelError(
                    f"{dataset.name}: expected ids of the {classes} classes or {nodata} for nodata; found "
                    f"{', '.join(map(str, unknown[:10]))} in rows {rows.start} to {rows.stop - 1}"
                )
            yield top, found
