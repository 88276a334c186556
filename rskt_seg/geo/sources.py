"""Two ways to open an image file, Pillow and rasterio, behind one interface.

Pillow reads the 8-bit formats of photographs; rasterio reads everything else, above all TIFF. The content of
the file decides, never its name. rasterio and GDAL are imported only when a file needs them.
"""

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from rskt_seg.errors import ImageReadError
from rskt_seg.geo import png, tiff
from rskt_seg.geo.georeference import (
    Georeference,
    ignore_georeference_warnings,
    options_without_georeference,
)
from rskt_seg.geo.masks import check_mask_file
from rskt_seg.geo.names import gdal_name
from rskt_seg.geo.pillow_source import PILLOW_MODES, PillowSource, has_gdal_facts
from rskt_seg.geo.rasterio_source import RasterioSource
from rskt_seg.mistaken import BEGINNING, recognise

_JPEG_SIGNATURE = b"\xff\xd8\xff"
_RASTERIO_FORMATS = {"JPEG2000", "PPM", "FITS", "HDF5", "GRIB"}
_CACHE_BYTES = 2**25
"""Decoded blocks that GDAL keeps: enough for the values, and then the masks, of the rows read at a time."""
_PATIENCE = {
    "GDAL_HTTP_CONNECTTIMEOUT": "30",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
}
"""Seconds after which a server that does not answer, or sends nothing any more, is an error."""
# A Path has one slash of the two of a URL, which GDAL would fetch.
_DATASET_NAME = re.compile(r"/vsi\w+/|(?!(?:https?|ftp|s3|gs):)[A-Za-z][A-Za-z0-9_]+:(?!//)", re.IGNORECASE)


class Source(Protocol):
    """An open image file; bands are numbered from 1, and an alpha band is not counted.

    It is read some rows at a time, from the first to the last, once or more often, so that little more than
    the result is in memory.

    Attributes:
        height: Rows of pixels.
        width: Columns of pixels.
        rows: Rows that are best read at a time.
        count: Number of bands that can be read.
        driver: Format of the file, such as "GTiff" or "PNG".
        dtype: Type of the stored samples, such as "uint8" or "int16".
        default_bands: The one or three bands to read as colours unless others are requested.
        orientation: EXIF orientation, 1 if there is none.
        georeference: None for an image without one.
    """

    height: int
    width: int
    rows: int
    count: int
    driver: str
    dtype: str
    default_bands: tuple[int, ...]
    orientation: int
    georeference: Georeference | None

    @property
    def notices(self) -> list[str]:
        """One line for every choice made while opening and reading."""

    def read(self, indexes: Sequence[int], rows: slice) -> np.ndarray:
        """Return the values (n, rows, W) of bands in the dtype of the file."""

    def read_mask(self, index: int, rows: slice) -> np.ndarray | None:
        """Return where a band has data: (rows, W) bool, a new array; None if it has data everywhere."""

    def describe_missing_band(self, index: int) -> str:
        """Return the reason why band `index` cannot be read, for an error message."""


def is_dataset_name(path: str) -> bool:
    """Return whether a text is a name of GDAL's own: `NETCDF:"bands.nc":red`, `/vsizip/a.zip/b.tif`."""
    return _DATASET_NAME.match(path) is not None


def as_source(path: str | os.PathLike[str]) -> Path | str:
    """Return the path of a file; a name of GDAL's own stays text, as a `Path` would merge its slashes."""
    name = os.fspath(path)
    return name if is_dataset_name(name) else Path(name)


@contextmanager
def open_source(
    path: Path | str, max_pixels: int, alpha: bool = True, georeference: bool = True
) -> Iterator[Source]:
    """Open an image file with whichever library suits its content.

    Args:
        path: An existing file, or a name of GDAL's own.
        max_pixels: The largest raster that may be read, in pixels.
        alpha: Whether a band that is declared alpha says which pixels are valid; else it is data.
        georeference: Whether the georeference is needed; without, that of a TIFF is None.

    Yields:
        The open file.

    Raises:
        ImageReadError: Neither library can open the file, it is not whole, or it has more than `max_pixels`
            pixels.
    """
    name, directory, refusal, beginning = str(path), None, "not asked for a part of a file", b""
    if not is_dataset_name(name) or os.path.isfile(path):
        path = Path(path)
        with path.open("rb") as file:
            beginning = file.read(BEGINNING)
            header = beginning[:25]
            file.seek(0)
            photograph = header.startswith((png.SIGNATURE, _JPEG_SIGNATURE))
            content = file.read() if photograph else b""
        if header.startswith(png.SIGNATURE) and (fault := png.png_fault(content)):
            raise ImageReadError(f"cannot read {path}: damaged or incomplete: {fault}; copy it again")
        image, refusal = _open_with_pillow(BytesIO(content) if photograph else path, header)
        if image is not None:
            with image:
                source = PillowSource(path, image, alpha, has_gdal_facts(path, content))
                del content  # all is decoded
                yield source
            return
        content = b""  # rasterio reads the file itself
        if header.startswith(tiff.SIGNATURES):
            name, directory = _choose_picture(path)
    options = {}
    if not georeference and directory is not None and directory.orientation == 1:
        options = options_without_georeference(path)  # an orientation counts only without it
    import rasterio
    from rasterio.errors import RasterioError

    # Side-cars are looked for by name: to list a folder of thousands of tiles for each of them takes longer.
    # GDAL would keep decoded blocks in a twentieth of the machine's memory.
    # Threads of a mosaic write the errors of its tiles to the terminal.
    env = rasterio.Env(
        GDAL_DISABLE_READDIR_ON_OPEN="TRUE", GDAL_CACHEMAX=_CACHE_BYTES, VRT_NUM_THREADS="1", **_PATIENCE
    )
    with ignore_georeference_warnings(), env:
        try:
            dataset = rasterio.open(gdal_name(name), **options)
        except RasterioError as error:
            raise ImageReadError(_describe_refusal(path, beginning, refusal, error)) from error
        with dataset:
            check_mask_file(path, dataset.shape)
            yield RasterioSource(path, dataset, max_pixels, alpha, directory)


def _describe_refusal(path: Path | str, beginning: bytes, by_pillow: str, by_rasterio: Exception) -> str:
    """Return what a file is, by its first bytes, or why neither library reads it."""
    if found := recognise(beginning):
        return f"{path} is {found.what}, not an image; {found.remedy}, or get the file again"
    return (
        f"cannot read {path} as an image: Pillow: {by_pillow}; rasterio: {by_rasterio}; expected a format "
        "of Pillow (PNG, JPEG, BMP, GIF, WebP, ...) or rasterio (GeoTIFF, JPEG 2000, VRT, ...)"
    )


def _choose_picture(path: Path) -> tuple[str, tiff.Directory | None]:
    """Return GDAL's name of the picture to read of a TIFF file, and its directory if that can be read.

    Cameras and some scanners store a small preview as the first directory.
    """
    directories = tiff.read_directories(path)
    if not directories:
        return str(path), None
    whole = [each for each in directories if each.is_whole_picture]
    if not whole:
        raise ImageReadError(
            f"{path} contains reduced versions of a picture, not the picture itself; export it from the "
            "program that wrote the file"
        )
    first = directories[0]
    chosen = first if first in whole else max(whole, key=lambda each: each.size[0] * each.size[1])
    if chosen.no_colors:
        raise ImageReadError(
            f"{path} holds {chosen.no_colors} (PhotometricInterpretation {chosen.photometric}), not gray or "
            "RGB; export it as RGB from the program that wrote or develops it"
        )
    name = str(path) if chosen is first else f"GTIFF_DIR:off:{chosen.offset}:{path}"
    return name, chosen


def _open_with_pillow(source: Path | BytesIO, header: bytes) -> tuple[Image.Image | None, str]:
    """Return the identified but not decoded image, or None and why Pillow should not read the file."""
    if header.startswith(tiff.SIGNATURES):
        return None, "not asked for TIFF"  # it knows too few kinds and reads some of them wrongly
    if header.startswith(png.SIGNATURE) and header[24:25] == b"\x10":
        return None, "not asked for 16 bits"  # of 16-bit colour it keeps only the high byte
    with warnings.catch_warnings():
        # Above its limit Pillow warns, then refuses; rasterio reads such files.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(source)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            return None, "the image is too large"
        except Exception as error:  # plug-ins fail in many ways on files that are not theirs
            return None, type(error).__name__
    if image.mode in PILLOW_MODES and image.format not in _RASTERIO_FORMATS:
        return image, ""
    image.close()
    return None, f"not asked for {image.format} {image.mode}"
