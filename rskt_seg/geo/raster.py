"""Reading of any image file as a model needs it: 8-bit RGB, and a mask of the valid pixels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.geo.fill import fill_notice
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.sources import Source, is_dataset_name, open_source
from rskt_seg.geo.stretch import Stretch, parse_stretch, share_outside, to_8bit

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
    """

    pixels: np.ndarray
    valid: np.ndarray
    georeference: Georeference | None = None
    notices: tuple[str, ...] = ()
    driver: str = ""
    dtype: str = "uint8"
    orientation: int = 1

    def filled(self) -> np.ndarray:
        """Return the pixels as models see them: where not valid, the mean valid colour, which is the least
        conspicuous neighbour.
        """
        if self.valid.all() or not self.valid.any():
            return self.pixels
        pixels = self.pixels.copy()
        pixels[~self.valid] = np.rint(self.pixels[self.valid].mean(axis=0))
        return pixels


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
        path: The image file, or GDAL's name of a part of a file, such as `NETCDF:"bands.nc":red`.
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
    path = Path(path)
    if not is_dataset_name(str(path)):
        _check_file(path)
    rule, chosen = parse_stretch(stretch), _check_bands(bands)
    try:
        with open_source(path, max_pixels, alpha, georeference) as source:
            return _read_source(path, source, chosen or source.default_bands, rule, nodata)
    except ImageReadError:
        raise
    except MemoryError as error:
        raise ImageReadError(f"cannot read {path}: it does not fit into memory") from error
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise ImageReadError(f"cannot read {path}: damaged or incomplete ({_root_cause(error)})") from error


def _read_source(
    path: Path, source: Source, bands: tuple[int, ...], rule: Stretch, nodata: float | None
) -> RasterImage:
    for index in bands:
        if index > source.count:
            raise ImageReadError(
                f"{path}: {source.describe_missing_band(index)}; it has bands 1 to {source.count}"
            )
    values = source.read(bands)
    masks = _valid_bands(source, bands, values, nodata)
    # Data in any band is enough: true black survives where only some bands equal the nodata value.
    valid = np.any(masks, axis=0) if masks is not None else np.ones(values.shape[1:], bool)
    if values.dtype.kind == "f":
        valid &= np.isfinite(values).all(axis=0)
    pixels, scaling = _scale_bands(values, masks, bands, rule)
    notices = list(source.notices) if bands == source.default_bands else []
    if scaling:
        notices.append(f"{values.dtype} to 8 bit by {rule}: {', '.join(scaling)}")
    if len(bands) == 1:
        notices.append(ONE_BAND)
    if not valid.any():
        notices.append("no valid pixel: all of the image is nodata")
    else:
        notices += fill_notice(values, valid)
    orientation = 1
    if source.orientation in range(2, 9):
        if source.georeference is None:
            orientation = source.orientation
            pixels, valid = _orient(pixels, source.orientation), _orient(valid, source.orientation)
        else:
            notices.append("orientation tag not applied, because the image is georeferenced")
    facts = (source.georeference, tuple(notices), source.driver, source.dtype, orientation)
    return RasterImage(pixels, valid, *facts)


def _valid_bands(
    source: Source, bands: tuple[int, ...], values: np.ndarray, nodata: float | None
) -> list[np.ndarray] | None:
    """Return where each band has data, (H, W) bool; None if all do everywhere."""
    found = [source.read_mask(index) for index in bands]
    if nodata is None and all(mask is None for mask in found):
        return None
    masks = [np.ones(values.shape[1:], bool) if mask is None else mask for mask in found]
    if nodata is not None:
        filled = np.isnan(values) if np.isnan(nodata) else values == nodata
        for mask in masks:
            mask &= ~filled.all(axis=0)
    return masks


def _scale_bands(
    values: np.ndarray, masks: list[np.ndarray] | None, bands: tuple[int, ...], rule: Stretch
) -> tuple[np.ndarray, list[str]]:
    """Return pixels (H, W, 3) uint8, and how each band was scaled if it was not taken as it is."""
    if values.dtype == np.uint8 and rule.kind in ("auto", "none"):
        channels = values if len(values) == 3 else np.broadcast_to(values, (3, *values.shape[1:]))
        return np.require(np.moveaxis(channels, 0, 2), requirements=["C", "W"]), []
    pixels = np.empty((*values.shape[1:], 3), np.uint8)
    scaling: list[str] = []
    for channel, (index, band) in enumerate(zip(bands, values, strict=True)):
        mask = masks[channel] if masks is not None else np.ones(band.shape, bool)
        limits = rule.limits(band, mask & np.isfinite(band))
        to_8bit(band, limits, pixels[:, :, channel])
        if limits is not None:
            scaling.append(f"band {index} {limits[0]:g}..{limits[1]:g}")
        elif band.dtype != np.uint8 and (outside := share_outside(band)):
            scaling.append(f"band {index} has {outside:.1%} outside 0..255, which are cut")
    pixels[:, :, len(bands) :] = pixels[:, :, :1]
    return pixels, scaling


def _orient(array: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation to pixels (H, W, 3) uint8 or a mask (H, W) bool."""
    image = Image.fromarray(array)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return np.array(ImageOps.exif_transpose(image))


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ImageReadError(f"{path} is a folder; give image files, such as {path / '*.tif'}")
    if not path.is_file():
        raise ImageReadError(f"no such image: {path}")
    if path.stat().st_size == 0:
        raise ImageReadError(f"cannot read {path}: the file is empty")


def _check_bands(bands: Sequence[int] | None) -> tuple[int, ...] | None:
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
