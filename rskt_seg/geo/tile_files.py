"""Files of the tiles of an image: 8-bit RGB, on the ground where the image is."""

from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.names import gdal_name
from rskt_seg.geo.raster import RasterImage
from rskt_seg.geo.raster_files import check_place, replacing_raster
from rskt_seg.writing import replacing

_LAYOUT = {"driver": "GTiff", "compress": "deflate", "predictor": 2, "photometric": "RGB", "count": 3}


def write_picture(path: Path, image: RasterImage, georeference: Georeference | None) -> None:
    """Write an 8-bit RGB picture, whole or not at all.

    Args:
        path: A `.tif` for a picture with a georeference, which keeps an internal mask if not all pixels are
            valid; a `.png` for one without, which then has alpha.
        image: The picture; what is not valid becomes black.
        georeference: Where the picture lies; None for a `.png`.

    Raises:
        OSError: The file cannot be written, or not completely.
    """
    pixels = np.where(image.valid[:, :, None], image.pixels, np.uint8(0))
    if georeference is None:
        alpha = () if image.valid.all() else (np.where(image.valid, np.uint8(255), np.uint8(0)),)
        with replacing(path) as partial:
            Image.fromarray(np.dstack([pixels, *alpha])).save(partial, "PNG")
        return
    import rasterio

    height, width = image.valid.shape
    with replacing_raster(path) as partial, rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"):
        profile = {**_LAYOUT, **georeference.profile(), "height": height, "width": width, "dtype": "uint8"}
        with rasterio.open(gdal_name(partial), "w", **profile) as dataset:
            georeference.write_points(dataset)
            dataset.write(np.moveaxis(pixels, 2, 0))
            if not image.valid.all():
                dataset.write_mask(image.valid)
        with rasterio.open(gdal_name(partial)) as dataset:
            check_place(dataset, partial, georeference)
            if not np.array_equal(dataset.read(), np.moveaxis(pixels, 2, 0)):
                raise OSError("its pixels are not those given")
