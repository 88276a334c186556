"""Image files of strangers, of which nothing but their own content is read.

GDAL knows formats that are descriptions of other files: a VRT names them, and the metadata of a TIFF may name
the file of its overviews. Whoever sends one to a server could see what lies there. So only formats that hold
their own pixels are opened, each by the one library that is meant for it.
"""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rskt_seg.errors import ImageReadError
from rskt_seg.geo import png, tiff
from rskt_seg.geo.arrays import as_image
from rskt_seg.geo.georeference import ignore_georeference_warnings
from rskt_seg.geo.raster import RasterImage, check_file, naming_damage
from rskt_seg.mistaken import BEGINNING, recognise

_PHOTOGRAPHS = ("JPEG", "WEBP", "BMP", "GIF")
_PNG_START = png.SIGNATURE + b"\0\0\0\rIHDR"
"""How a PNG file begins. Other chunks in front could hold, for GDAL, the text of a VRT."""
_BYTES_PER_PIXEL = 16
"""Of all bands of a TIFF, whose blocks are decoded as a whole."""
_OVERVIEWS = "OVERVIEWS"
"""The domain of metadata by which GDAL finds overviews in another file."""


def open_untrusted(path: Path, max_pixels: int) -> Path | RasterImage:
    """Return what of a file of a stranger may be read.

    Args:
        path: The file, alone in its folder, since GDAL reads what lies beside it.
        max_pixels: The most pixels that it may have.

    Returns:
        The path of a PNG or TIFF file, which the functions of `rskt_seg.geo` may open now; other formats as
        they were read.

    Raises:
        ImageReadError: It is no image in one of these formats, refers to another file, is too large, or is
            damaged.
    """
    check_file(path)
    with path.open("rb") as file:
        beginning = file.read(BEGINNING)
    if beginning.startswith(tiff.SIGNATURES):
        with naming_damage(path):
            for size, bytes_per_pixel in _pictures(path):
                _check_size(path, size, max_pixels)
                if bytes_per_pixel > _BYTES_PER_PIXEL:
                    raise ImageReadError(
                        f"{path} has {bytes_per_pixel} bytes a pixel; expected at most {_BYTES_PER_PIXEL}, "
                        "such as 8 bands of 16 bits: export the bands that are needed"
                    )
        return path
    photograph = not beginning.startswith(_PNG_START)
    with warnings.catch_warnings(), naming_damage(path):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is that of the caller
        try:
            image = Image.open(path, formats=_PHOTOGRAPHS if photograph else ("PNG",))
        except (UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ImageReadError(_describe(path, beginning, error, max_pixels)) from error
        with image:
            _check_size(path, image.size, max_pixels)
            if not photograph:
                return path
            image.load()  # here, where damage is told with the name of the file
            return replace(as_image(image), source=str(path))


def _pictures(path: Path) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield (width, height) and the bytes of a pixel of each picture of a TIFF file, none of which refers."""
    import rasterio

    with ignore_georeference_warnings(), rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE"):
        with rasterio.open(path, driver="GTiff") as first:
            names = first.subdatasets or [str(path)]
        for name in names:
            with rasterio.open(name, driver="GTiff") as picture:
                if picture.tags(ns=_OVERVIEWS):
                    raise ImageReadError(
                        f"{path} refers to another file for its overviews, which is not read here; write it "
                        "anew, such as by `rio convert`"
                    )
                sizes = [np.dtype(each).itemsize for each in picture.dtypes]
                yield (picture.width, picture.height), sum(sizes)


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageReadError(
            f"{path} has {width} x {height} px; expected at most {max_pixels:,} pixels: cut or reduce it"
        )


def _describe(path: Path, beginning: bytes, error: Exception, max_pixels: int) -> str:
    """Return what a file is that is no image, by its first bytes, or which formats are read."""
    if isinstance(error, Image.DecompressionBombError):
        most = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        return f"{path} has too many pixels; expected at most {most:,} in its format: cut or reduce it"
    if found := recognise(beginning):
        return f"{path} is {found.what}, not an image; {found.remedy}, or get the file again"
    return f"cannot read {path} as an image; expected PNG, JPEG, WebP, BMP, GIF or TIFF (GeoTIFF)"
