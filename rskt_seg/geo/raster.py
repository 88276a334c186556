"""Reading of any image file as a model needs it: 8-bit RGB, and a mask of the valid pixels."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.scene import Scene
from rskt_seg.geo.sources import Source, as_source, open_source
from rskt_seg.geo.stretch import Stretch, parse_stretch

MAX_PIXELS = 2**30
"""Largest image that `read_image` takes into memory, in pixels."""
ONE_BAND = "one band: copied to three equal channels"
"""The notice of a gray image."""


@dataclass(frozen=True)
class RasterImage:
    """An image as read.

    Attributes:
        pixels: (H, W, 3) uint8 RGB. The values of pixels that are not valid are meaningless.
        valid: (H, W) bool, False where alpha is 0, where all chosen bands are nodata, where the mask of the
            file says so, and where a band is not a finite number.
        georeference: None for an image without one.
        notices: One line for every choice that was made for the user.
        driver: Format of the file: "GTiff", "PNG", "JPEG", ...
        dtype: Type of the stored samples: "uint8", "int8", "uint16", "float32", ...
        orientation: EXIF orientation that was applied to the stored pixels, 1 for none.
        source: The file that it was read from; "" if there is none.
    """

    pixels: np.ndarray
    valid: np.ndarray
    georeference: Georeference | None = None
    notices: tuple[str, ...] = ()
    driver: str = ""
    dtype: str = "uint8"
    orientation: int = 1
    source: str = ""

    def filled(self) -> np.ndarray:
        """Return the pixels as models see them: where not valid, the mean valid colour, which is the least
        conspicuous neighbour.
        """
        if self.valid.all() or not self.valid.any():
            return self.pixels
        pixels = self.pixels.copy()
        np.copyto(pixels, self.mean_color(), where=~self.valid[:, :, None])
        return pixels

    def mean_color(self) -> np.ndarray:
        """Return the mean colour of the valid pixels, (3,) uint8; black if there are none."""
        # Without an index of the valid pixels, which would take 16 bytes a pixel.
        sums = [np.sum(self.pixels[:, :, i], dtype=np.int64, where=self.valid) for i in range(3)]
        return np.rint(np.array(sums) / max(1, int(np.count_nonzero(self.valid)))).astype(np.uint8)


def read_image(
    path: str | os.PathLike[str],
    bands: Sequence[int] | None = None,
    stretch: str | tuple[float, float] = "auto",
    max_pixels: int = MAX_PIXELS,
    nodata: float | None = None,
    alpha: bool = True,
    georeference: bool = True,
) -> RasterImage:
    """Read an image file of any format that Pillow or rasterio know, whatever its extension.

    8-bit images keep their values; everything else is scaled to 8 bits, with one scaling for the whole scene.
    EXIF orientation is applied (the result is the image as viewers show it), except to a georeferenced file,
    whose grid is kept. Alpha decides which pixels are valid and is never used as a colour.

    Args:
        path: The image file, or a name of GDAL's own, such as `NETCDF:"bands.nc":red` or
            `/vsizip/a.zip/b.tif`.
        bands: Numbers (from 1, as in GDAL) of the bands to use as R, G, B, or of one band to use as all
            three. None: those declared or named red, green and blue, else the first three, else the first.
        stretch: "auto" (8-bit as it is, else "p2-98"), "none" (values rounded and clipped to 0..255),
            percentiles "pA-B" of the valid pixels of each band, or the limits (min, max) or "min,max".
        max_pixels: Larger files are refused, because the whole image is held in memory.
        nodata: Pixels with this value in all chosen bands are not valid, besides those that the file
            declares.
        alpha: Whether a band that is declared alpha says which pixels are valid; else it is data.
        georeference: Whether to read where the image lies on the ground; small GeoTIFFs open in half the time
            without.

    Returns:
        The image.

    Raises:
        ImageReadError: The file is missing, not an image, damaged or too large, or lacks a band.
        ConfigError: `bands` or `stretch` is invalid.
    """
    path = as_source(path)
    check_file(path)
    rule, chosen = parse_stretch(stretch), check_bands(bands)
    with naming_damage(path), open_source(path, max_pixels, alpha, georeference) as source:
        return image_of(path, source, chosen or source.default_bands, rule, nodata)[0]


@contextmanager
def naming_damage(path: Path | str) -> Iterator[None]:
    """Raise `ImageReadError` in place of whatever a decoder raises inside the block.

    Args:
        path: The file that is read.

    Raises:
        ImageReadError: The block raised any error; its own ones stay as they are.
    """
    try:
        yield
    except ImageReadError:
        raise
    except MemoryError as error:
        raise ImageReadError(f"cannot read {path}: it does not fit into memory") from error
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise ImageReadError(f"cannot read {path}: damaged or incomplete ({_root_cause(error)})") from error


def image_of(
    path: Path | str, source: Source, bands: tuple[int, ...], rule: Stretch, nodata: float | None
) -> tuple[RasterImage, Scene]:
    """Read an open image as a whole.

    Args:
        path: The file, for messages.
        source: The open image.
        bands: Numbers of the one or three bands to read.
        rule: How values become 8 bits.
        nodata: As for `read_image`.

    Returns:
        The image, and the scene that it was read as.

    Raises:
        ImageReadError: It lacks a band.
    """
    for index in bands:
        if index > source.count:
            raise ImageReadError(
                f"{path}: {source.describe_missing_band(index)}; it has bands 1 to {source.count}"
            )
    turned = source.orientation in range(2, 9)
    orientation = source.orientation if turned and source.georeference is None else 1
    scene = Scene(source, bands, rule, nodata, orientation)
    scaling = scene.read()
    notices = list(source.notices) if bands == source.default_bands else []
    if scaling:
        notices.append(f"{scene.dtype} to 8 bit by {rule}: {', '.join(scaling)}")
    if nodata is not None and not _holds(scene.dtype, nodata):
        notices.append(f"no pixel has the nodata value {nodata:g}: the samples are {scene.dtype}")
    if len(bands) == 1:
        notices.append(ONE_BAND)
    if not scene.valid.any():
        notices.append("no valid pixel: all of the image is nodata")
    else:
        notices += scene.fill.notice()
    if turned and source.georeference is not None:
        notices.append("orientation tag not applied, because the image is georeferenced")
    facts = (source.georeference, tuple(notices), source.driver, source.dtype, orientation, str(path))
    return RasterImage(scene.pixels, scene.valid, *facts), scene


def check_file(path: Path | str) -> None:
    """Check that there is a file to read.

    Args:
        path: As `as_source` returns it; a name of GDAL's own is not looked at.

    Raises:
        ImageReadError: It is missing, empty or a folder.
    """
    if isinstance(path, str):
        return
    if path.is_dir():
        raise ImageReadError(f"{path} is a folder; give image files, such as {path / '*.tif'}")
    if not path.is_file():
        raise ImageReadError(f"no such image: {path}")
    if path.stat().st_size == 0:
        raise ImageReadError(f"cannot read {path}: the file is empty")


def check_bands(bands: Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the bands to read.

    Args:
        bands: One or three numbers from 1; None: those that the file suggests.

    Returns:
        The numbers, or None.

    Raises:
        ConfigError: Anything else.
    """
    if bands is None:
        return None
    numbers = tuple(bands)
    if len(numbers) not in (1, 3) or not all(isinstance(i, int | np.integer) and i >= 1 for i in numbers):
        raise ConfigError(f"bands must be one or three numbers from 1, such as (4, 3, 2); found {bands!r}")
    return tuple(int(index) for index in numbers)


def _root_cause(error: BaseException) -> str:
    """Return the innermost cause in one line; rasterio's own messages only point to it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def _holds(dtype: str | np.dtype, value: float) -> bool:
    """Return whether samples of a type can have a value."""
    kind = np.dtype(dtype)
    if kind.kind not in "iu":
        return True
    limits = np.iinfo(kind)
    return float(value).is_integer() and limits.min <= value <= limits.max
