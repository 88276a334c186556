"""What GDAL knows of label files: nodata and masks of those that Pillow reads, the kind of the others."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rskt_seg.geo.georeference import ignore_georeference_warnings, options_without_georeference
from rskt_seg.geo.masks import check_mask_file, has_masks, read_dataset_mask
from rskt_seg.geo.names import gdal_name
from rskt_seg.geo.tiff import SIGNATURES


class Declared(NamedTuple):
    """Which pixels of a raster of one band have data, as the file and its side-cars declare it.

    Attributes:
        nodata: The value of pixels without data; None if there is none.
        mask: (H, W) bool, False where there is no data; None if no mask is declared.
    """

    nodata: float | None = None
    mask: np.ndarray | None = None


def read_declared(path: str | Path) -> Declared:
    """Read the nodata value or the mask of a raster from its tags, its internal mask and its side-cars.

    Args:
        path: The file.

    Returns:
        What is declared; nothing for other files than TIFF without a side-car, which are not opened by GDAL.

    Raises:
        ImageReadError: The mask file beside it does not fit.
    """
    path = Path(path)
    is_tiff = _is_tiff(path)
    if not is_tiff and not any(os.path.exists(f"{path}{ending}") for ending in (".aux.xml", ".msk")):
        return Declared()
    import rasterio
    from rasterio.enums import MaskFlags
    from rasterio.errors import RasterioError

    options = options_without_georeference(path) if is_tiff else {}
    with ignore_georeference_warnings(), rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE"):
        try:
            dataset = rasterio.open(gdal_name(path), **options)
        except RasterioError:
            return Declared()
        with dataset:
            check_mask_file(path, dataset.shape)
            if not dataset.count or not has_masks(dataset):
                return Declared()
            if MaskFlags.nodata in dataset.mask_flag_enums[0]:
                return Declared(nodata=dataset.nodata)
            return Declared(mask=read_dataset_mask(dataset))


def describe_samples(path: str | Path) -> str:
    """Describe how a TIFF that GDAL can open stores its samples, such as "int64 samples, LERC compression".

    Args:
        path: The file.

    Returns:
        The description; "" for other files, and if GDAL cannot open the file.
    """
    if not _is_tiff(Path(path)):
        return ""
    import rasterio
    from rasterio.errors import RasterioError

    with ignore_georeference_warnings():
        try:
            with rasterio.open(gdal_name(path)) as dataset:
                facts = [f"{dataset.dtypes[0]} samples" if dataset.count == 1 else f"{dataset.count} bands"]
                tags = dataset.tags(ns="IMAGE_STRUCTURE")
        except RasterioError:
            return ""
    facts += [f"{tags['COMPRESSION']} compression"] if "COMPRESSION" in tags else []
    with Path(path).open("rb") as file:
        facts += ["big-endian BigTIFF"] if file.read(4) == b"MM\0+" else []
    return ", ".join(facts)


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in SIGNATURES
