"""Rasters of the parts of a map, without a georeference, which the whole map is put together from."""

from pathlib import Path

import numpy as np

from rskt_seg.geo.georeference import ignore_georeference_warnings
from rskt_seg.geo.names import gdal_name
from rskt_seg.writing import replacing

_BLOCK = 512


def write_part(path: Path, bands: np.ndarray) -> None:
    """Write a part, whole or not at all, and read it again.

    Args:
        path: The file to write or to replace.
        bands: (n, H, W) uint8 or uint16.

    Raises:
        OSError: It cannot be written, or not completely.
    """
    import rasterio
    from rasterio.errors import RasterioError

    count, height, width = bands.shape
    layout = (
        {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK} if min(height, width) >= _BLOCK else {}
    )
    with replacing(path, bands.nbytes) as partial, ignore_georeference_warnings():
        try:
            with rasterio.open(
                gdal_name(partial), "w", driver="GTiff", height=height, width=width, count=count,
                dtype=bands.dtype, compress="deflate", zlevel=1, photometric="minisblack", **layout,
            ) as dataset:  # fmt: skip
                dataset.write(bands)
            with rasterio.open(gdal_name(partial)) as dataset:
                whole = all(np.array_equal(dataset.read(i + 1), band) for i, band in enumerate(bands))
        except RasterioError as error:
            raise OSError(
                f"{path} could not be written completely ({error}); check the space left"
            ) from error
        if not whole:
            raise OSError(f"{path} could not be written completely; check the space on its disk")
