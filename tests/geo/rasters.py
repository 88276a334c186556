"""Small rasters for the tests of this folder."""

import numpy as np
import rasterio
from rasterio.transform import Affine

ROTATED = Affine(17.5, 5, 100, 10, -8.75, 200)
UTM = {"crs": "EPSG:32632", "transform": Affine(0.5, 0, 300000, 0, -0.5, 5600000)}


def noise(*shape, dtype=np.uint8, seed=0):
    top = {"uint8": 256, "uint16": 4000, "int16": 3000, "float32": 1}[np.dtype(dtype).name]
    values = np.random.default_rng(seed).uniform(0, top, shape)
    return values.astype(dtype)


def write_tiff(path, array, mask=None, colorinterp=None, **options):
    """(C, H, W) as GeoTIFF, by rasterio itself."""
    count, height, width = array.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": array.dtype}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile | options) as dataset:
        if colorinterp:
            dataset.colorinterp = colorinterp
        dataset.write(array)
        if mask is not None:
            dataset.write_mask(mask)
    return path


def has_notice(image, text):
    return any(text in notice for notice in image.notices)


def write_nodata_side_car(path, bands, value=0):
    """Declare a nodata value of the bands of a raster in GDAL's side-car."""
    entries = (
        f'<PAMRasterBand band="{band + 1}"><NoDataValue>{value}</NoDataValue></PAMRasterBand>'
        for band in range(bands)
    )
    path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset>{''.join(entries)}</PAMDataset>")


def write_mask_file(path, mask):
    """Write (H, W) bool as GDAL's mask file beside a raster."""
    beside = path.with_name(f"{path.name}.msk")
    write_tiff(beside, np.where(mask, np.uint8(255), np.uint8(0))[None])
    with rasterio.open(beside, "r+") as dataset:
        dataset.update_tags(**{f"INTERNAL_MASK_FLAGS_{band}": 2 for band in range(1, 5)})
