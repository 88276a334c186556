"""Nodata and masks that a raster declares for all of its bands."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rskt_seg.errors import ImageReadError
from rskt_seg.geo.georeference import ignore_georeference_warnings
from rskt_seg.geo.names import gdal_name

if TYPE_CHECKING:
    from rasterio.io import DatasetReader


def has_masks(dataset: "DatasetReader") -> bool:
    """Return whether every band of a raster has nodata or a mask; alpha neither needs nor is one."""
    return bool(bands := _data_bands(dataset)) and all(
        not {"all_valid", "alpha"} & {flag.name for flag in dataset.mask_flag_enums[index - 1]}
        for index in bands
    )


def read_dataset_mask(dataset: "DatasetReader") -> np.ndarray:
    """Return where any band of a raster has data, (H, W) bool.

    Args:
        dataset: The open raster, whose bands all have nodata or a mask.
    """
    mask = np.zeros(dataset.shape, bool)
    for band in _data_bands(dataset):
        mask |= dataset.read_masks(band) > 0
    return mask


def check_mask_file(path: str | Path, shape: tuple[int, int]) -> None:
    """Check that a mask file of GDAL beside an image, if there is one, has its size.

    GDAL reads the corner of a larger one without a word, and passes over one that it cannot read.

    Args:
        path: The image file.
        shape: (height, width) of the image.

    Raises:
        ImageReadError: The mask has another size, or is no raster.
    """
    mask = f"{path}.msk"
    if not os.path.exists(mask):
        return
    import rasterio
    from rasterio.errors import RasterioError

    with ignore_georeference_warnings():
        try:
            with rasterio.open(gdal_name(mask)) as dataset:
                found = f"{dataset.height} x {dataset.width}" if dataset.shape != shape else ""
        except RasterioError:
            found = "no raster"
    if found:
        raise ImageReadError(
            f"cannot read {path}: expected a mask of its size (height x width), {shape[0]} x {shape[1]}, "
            f"found {found} in {mask}; replace the mask, or remove it if it does not belong to the image"
        )


def _data_bands(dataset: "DatasetReader") -> list[int]:
    """Return the numbers of the bands that are not declared alpha."""
    return [i for i, role in zip(dataset.indexes, dataset.colorinterp, strict=True) if role.name != "alpha"]
