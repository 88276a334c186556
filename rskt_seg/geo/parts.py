"""Rasters of the parts of a map, which the whole map is put together from."""

from pathlib import Path

import numpy as np

from rskt_seg.geo.georeference import ignore_georeference_warnings
from rskt_seg.geo.names import gdal_name
from rskt_seg.geo.raster_files import BLOCK
from rskt_seg.windows import Window
from rskt_seg.writing import replacing


def write_part(path: Path, bands: np.ndarray, place: Window) -> None:
    """Write a part, whole or not at all, and read it again.

    Args:
        path: The file to write or to replace.
        bands: (n, H, W) uint8 or uint16.
        place: Where the part lies in the map, px; its coordinates are columns and, downwards, negative rows.

    Raises:
        OSError: It cannot be written, or not completely.
    """
    import rasterio
    from affine import Affine
    from rasterio.errors import RasterioError

    count, height, width = bands.shape
    transform = Affine(1, 0, place.left, 0, -1, -place.top)
    layout = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK} if min(height, width) >= BLOCK else {}
    with replacing(path, bands.nbytes) as partial, ignore_georeference_warnings():
        try:
            with rasterio.open(
                gdal_name(partial), "w", driver="GTiff", height=height, width=width, count=count,
                dtype=bands.dtype, transform=transform, compress="deflate", zlevel=1,
                photometric="minisblack", **layout,
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
