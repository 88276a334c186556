"""Reading of any image file to what a model needs: 8-bit RGB, and which of its pixels are data."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.sources import Source, open_source, orient
from rskt_seg.geo.stretch import Stretch, parse_stretch, share_outside, to_8bit

MAX_PIXELS = 2**30
"""Largest image that `read_image` takes into memory, in pixels."""


@dataclass(frozen=True)
class RasterImage:
    """An image as read.

    Attributes:
        pixels: (H, W, 3) uint8 RGB. What stands at pixels without data means nothing.
        valid: (H, W) bool, False where alpha is 0, where all chosen bands hold nodata, where the file's
            mask says so, and where a band is not a finite number.
        georeference: None for an image without any.
        notices: one line for everything that was decided on the user's behalf.
        driver: what kind of file it was: "GTiff", "PNG", "JPEG", ...
    """

    pixels: np.ndarray
    valid: np.ndarray
    georeference: Georeference | None = None
    notices: tuple[str, ...] = ()
    driver: str = ""


def read_image(
    path: str | os.PathLike,
    bands: Sequence[int] | None = None,
    stretch: str | tuple[float, float] = "auto",
    max_pixels: int = MAX_PIXELS,
) -> RasterImage:
    """Read an image file of any kind that Pillow or rasterio know, whatever its name ends in.

    8-bit images keep their values; everything else is scaled to 8 bits, once for the whole scene. EXIF
    orientation is applied (the result is the image as shown), except to a georeferenced file, whose
    grid is kept. Alpha says which pixels are valid and is never a colour.

    Args:
        bands: numbers (from 1, as in GDAL) of the bands that become R, G, B, or of one band that becomes
            all three. None: those declared red, green and blue, else the first three, else the first.
        stretch: "auto" (8-bit as it is, else "p2-98"), "none" (values rounded and cut to 0..255),
            percentiles "pA-B" of each band's valid pixels, or the limits (min, max) or "min,max".
        max_pixels: files of more pixels are refused, because all of the image is held in memory.

    Raises `ImageReadError` for a file that is missing, no image, broken or too large, or lacks a band;
    `ConfigError` for bands or a stretch that make no sense.
    """
    path = _file(path)
    rule, bands = parse_stretch(stretch), _checked_bands(bands)
    try:
        with open_source(path, max_pixels) as source:
            return _assemble(path, source, bands or source.default_bands, rule)
    except ImageReadError:
        raise
    except MemoryError as error:
        raise ImageReadError(f"cannot read {path}: it does not fit into memory") from error
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise ImageReadError(f"cannot read {path}: damaged or incomplete ({_cause(error)})") from error


def _assemble(path: Path, source: Source, bands: tuple[int, ...], rule: Stretch) -> RasterImage:
    for index in bands:
        if index > source.count:
            raise ImageReadError(f"{path}: {source.why_absent(index)}; it has bands 1 to {source.count}")
    pixels = np.empty((source.height, source.width, 3), np.uint8)
    valid = np.zeros(pixels.shape[:2], bool)
    finite = np.ones(pixels.shape[:2], bool)
    scaling: list[str] = []
    for channel, index in enumerate(bands):
        values, known = source.band(index), source.known(index)
        # Any band is enough: true black survives where only some bands equal the nodata value.
        valid |= known
        if values.dtype.kind == "f":
            finite &= np.isfinite(values)
            known &= np.isfinite(values)
        limits = rule.limits(values, known)
        to_8bit(values, limits, pixels[:, :, channel])
        scaling += _scaling(index, values, limits)
    valid &= finite
    notices = list(source.notices) if bands == source.default_bands else []
    if scaling:
        notices.append(f"{values.dtype} to 8 bit by {rule}: {', '.join(scaling)}")
    if len(bands) == 1:
        pixels[:, :, 1:] = pixels[:, :, :1]
        notices.append("one band: copied to three equal channels")
    if not valid.any():
        notices.append("no valid pixel: all of the image is nodata")
    return _shown(source, pixels, valid, notices)


def _scaling(index: int, values: np.ndarray, limits: tuple[float, float] | None) -> list[str]:
    """What to say of the scaling of a band: nothing if it kept its values."""
    if limits is not None:
        return [f"band {index} {limits[0]:g}..{limits[1]:g}"]
    outside = 0.0 if values.dtype == np.uint8 else share_outside(values)
    return [f"band {index} has {outside:.1%} outside 0..255, which are cut"] if outside else []


def _shown(source: Source, pixels: np.ndarray, valid: np.ndarray, notices: list[str]) -> RasterImage:
    if source.orientation in range(2, 9):
        if source.georeference is None:
            pixels, valid = orient(pixels, source.orientation), orient(valid, source.orientation)
        else:
            notices.append("orientation tag not applied, because the image is georeferenced")
    return RasterImage(pixels, valid, source.georeference, tuple(notices), source.driver)


def _file(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.is_dir():
        raise ImageReadError(f"{path} is a folder; give image files, such as {path / '*.tif'}")
    if not path.is_file():
        raise ImageReadError(f"no such image: {path}")
    if path.stat().st_size == 0:
        raise ImageReadError(f"cannot read {path}: the file is empty")
    return path


def _checked_bands(bands: Sequence[int] | None) -> tuple[int, ...] | None:
    if bands is None:
        return None
    whole = all(isinstance(index, int | np.integer) and index >= 1 for index in bands)
    if isinstance(bands, str) or len(bands) not in (1, 3) or not whole:
        raise ConfigError(f"bands must be one or three numbers from 1, such as (4, 3, 2); found {bands!r}")
    return tuple(int(index) for index in bands)


def _cause(error: BaseException) -> str:
    """The innermost reason, in one line; rasterio's own messages only point to it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
