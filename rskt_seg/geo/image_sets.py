"""Images of one set: what each is, one stretch to 8 bits for all, and readers of their windows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.raster import MAX_PIXELS, check_bands, check_file, naming_damage, read_image
from rskt_seg.geo.rasterio_source import RasterioSource
from rskt_seg.geo.scene import band_masks, valid_pixels
from rskt_seg.geo.sources import Source, open_source
from rskt_seg.geo.stretch import Stretch
from rskt_seg.geo.windowed import ANY_SIZE, ArrayReader, FileReader, Reduced, WindowReader, stamps_of
from rskt_seg.reading import brief

_SAMPLED = 2**22
"""About how many values of a band are kept of a whole set, for percentiles."""
Limits = tuple[tuple[float, float] | None, ...]
"""Of each band the values that become 0 and 255; None to keep its values."""


@dataclass(frozen=True)
class SetImage:
    """An image of a set before it is read.

    Attributes:
        path: The file.
        size: (H, W), px.
        bands: Numbers of the one or three bands that are read.
        driver: Format of the file: "GTiff", "PNG", "JPEG", ...
        dtype: Type of the stored samples.
        windowed: Whether windows are read from the file; else it is decoded as a whole.
        georeference: None for an image without one.
        notices: One line for every choice that was made while opening it.
        stamps: Name, bytes and time of change (ns) of all local files that it consists of.
        samples: Of each band some valid values (n,), if they are needed for percentiles.
    """

    path: Path
    size: tuple[int, int]
    bands: tuple[int, ...]
    driver: str
    dtype: str
    windowed: bool
    georeference: Georeference | None
    notices: tuple[str, ...]
    stamps: tuple[tuple[str, int, int], ...]
    samples: tuple[np.ndarray, ...] = field(default=(), compare=False, repr=False)


def examine_image(
    path: Path, bands: Sequence[int | str] | None, rule: Stretch, nodata: float | None, images: int
) -> SetImage:
    """Look at an image of a set.

    Args:
        path: The file.
        bands: Numbers from 1, or descriptions, of the bands to read as R, G, B, or of one band; None: those
            that the file suggests.
        rule: How the set becomes 8 bits.
        nodata: Pixels with this value in all bands are not valid; None for no such value.
        images: How many images the set has.

    Returns:
        What was found, with samples of the values if the rule needs them.

    Raises:
        ImageReadError: The file is missing, damaged, turned by an EXIF orientation, or lacks a band.
        ConfigError: `bands` are neither one nor three.
    """
    check_file(path)
    with naming_damage(path), open_source(path, ANY_SIZE) as source:
        windowed = isinstance(source, RasterioSource)
        if not windowed and source.height * source.width > MAX_PIXELS:
            raise ImageReadError(
                f"{path} has {source.width} x {source.height} pixels, more than the {MAX_PIXELS} that are "
                "read of a file that is decoded as a whole; convert it (gdal_translate -co TILED=YES)"
            )
        if source.orientation in range(2, 9) and source.georeference is None:
            raise ImageReadError(
                f"{path} has the EXIF orientation {source.orientation}, and nothing says whether image and "
                "label both follow it; turn the stored pixels or remove the tag so that they fit, such as by "
                "exiftool -Orientation= FILE"
            )
        used = _choose_bands(path, source, bands)
        samples: tuple[np.ndarray, ...] = ()
        if rule.needs_sample(np.dtype(source.dtype)):
            reduced = Reduced(source, used) if isinstance(source, RasterioSource) else source
            samples = _sample(reduced, used, nodata, max(1, _SAMPLED // images))
        files = source.files if isinstance(source, RasterioSource) else [str(path)]
        return SetImage(
            path,
            (source.height, source.width),
            used,
            source.driver,
            source.dtype,
            windowed,
            source.georeference,
            tuple(source.notices) if used == source.default_bands else (),
            stamps_of(files),
            samples,
        )


def common_limits(images: Sequence[SetImage], rule: Stretch) -> Limits:
    """Return how the bands of all images of a set become 8 bits.

    Args:
        images: The images.
        rule: How the set becomes 8 bits.

    Returns:
        The limits of each of three bands; those of a gray image are the first.

    Raises:
        ImageReadError: Samples differ in type from image to image and the rule gives no limits; images have
            no valid value; or they differ in the number of bands, of which percentiles are needed.
    """
    first = images[0]
    for other in images:
        if len(other.bands) != len(first.bands) and rule.needs_sample(np.dtype(first.dtype)):
            raise ImageReadError(
                f"{other.path} is read as {len(other.bands)} bands, and {first.path} as {len(first.bands)}; "
                "images of a set have the same bands: choose them by `bands`"
            )
        if other.dtype != first.dtype and rule.kind != "range":
            raise ImageReadError(
                f"{other.path} has {other.dtype} samples, and {first.path} {first.dtype}; give the values "
                'that become 0 and 255 in all images, such as stretch: "0,3000", or prepare them as two sets'
            )
    if rule.kind == "range":
        return ((rule.low, rule.high),) * 3
    if not rule.needs_sample(np.dtype(first.dtype)):
        return (None,) * 3
    limits = []
    for channel, band in enumerate(first.bands):
        ends = rule.limits(np.concatenate([image.samples[channel] for image in images]))
        if ends is None:
            raise ImageReadError(
                f"{first.path} and the other images: band {band} has no valid value; check `nodata`"
            )
        limits.append(ends)
    return tuple(limits)


def open_reader(image: SetImage, limits: Limits, nodata: float | None) -> WindowReader:
    """Return a reader of windows of an image.

    Args:
        image: The image.
        limits: What `common_limits` returned for its set.
        nodata: As for `examine_image`.

    Returns:
        The reader.

    Raises:
        ImageReadError: The file cannot be read.
    """
    if image.windowed:
        own = limits[: len(image.bands)]
        return FileReader(image.path, *image.size, image.bands, own, nodata, True, image.stamps)
    first = limits[0]  # those of a photograph, which has 8 bits, are the same for all bands
    read = read_image(image.path, image.bands, "none" if first is None else first, nodata=nodata)
    return ArrayReader(read)


def _choose_bands(path: Path, source: Source, bands: Sequence[int | str] | None) -> tuple[int, ...]:
    if bands is None:
        return source.default_bands
    names = source.band_names if isinstance(source, RasterioSource) else ()
    numbers = []
    for band in bands:
        if isinstance(band, int):
            if band > source.count:
                raise ImageReadError(
                    f"{path}: {source.describe_missing_band(band)}; it has bands 1 to {source.count}"
                )
            numbers.append(band)
            continue
        found = [i for i, name in enumerate(names, start=1) if name.casefold() == band.strip().casefold()]
        if len(found) != 1:
            several = "no" if not found else f"{len(found)}"
            there = ", ".join(filter(None, names)) or "none is described"
            raise ImageReadError(f"{path}: {several} bands are described as {brief(band)}; found: {there}")
        numbers += found
    chosen = check_bands(numbers)
    if chosen is None:
        raise ConfigError("bands must be one or three")
    return chosen


def _sample(
    source: Source | Reduced, bands: tuple[int, ...], nodata: float | None, most: int
) -> tuple[np.ndarray, ...]:
    """Return at most about `most` valid values (n,) of each band, evenly spread."""
    parts: list[list[np.ndarray]] = [[] for _ in bands]
    for start in range(0, source.height, source.rows):
        rows = slice(start, min(start + source.rows, source.height))
        values = source.read(bands, rows)
        masks = band_masks(values, [source.read_mask(index, rows) for index in bands], nodata)
        valid = valid_pixels(values, masks)
        for channel, band in enumerate(values):
            parts[channel].append(band[valid])
    found = [np.concatenate(each) for each in parts]
    step = max(1, -(-len(found[0]) // most))
    return tuple(each[::step].copy() for each in found)
