"""Reading of windows of rasters of any size, all with the scaling that one survey of the raster has found."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from rskt_seg.errors import ImageReadError
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.raster import MAX_PIXELS, RasterImage, check_bands, check_file, image_of, naming_damage
from rskt_seg.geo.rasterio_source import RasterioSource
from rskt_seg.geo.scene import band_masks, valid_pixels
from rskt_seg.geo.sources import as_source, open_source
from rskt_seg.geo.stretch import parse_stretch, sample_step, scaling_to_8bit
from rskt_seg.windows import Window, window_grid

ANY_SIZE = 2**62
"""The `max_pixels` of files that are read in windows."""
_TILE = 1024
"""Pixels of a side that are decoded at a time: GDAL keeps their blocks for values and masks."""


class WindowReader(Protocol):
    """Reader of windows of one image as models see them, which can be pickled to other processes.

    Attributes:
        height: Rows of the image.
        width: Columns of the image.
    """

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...

    def read(self, window: Window) -> RasterImage:
        """Read a window inside the image: pixels (h, w, 3) and valid (h, w).

        Raises:
            ImageReadError: The file cannot be read there, or is another one than it was.
        """


@dataclass(frozen=True)
class Survey:
    """What is known of an image before its windows are read.

    Attributes:
        reader: Reads its windows.
        overview: The image reduced to at most about 4 million pixels, without a georeference, and with the
            notices of all choices that were made for the user.
        georeference: That of the image; None if it has none.
        facts: What tells whether the image is still the same, as JSON holds it.
    """

    reader: WindowReader
    overview: RasterImage
    georeference: Georeference | None
    facts: dict[str, object]


@dataclass(frozen=True)
class ArrayReader:
    """Reader of windows of an image in memory."""

    image: RasterImage

    @property
    def height(self) -> int:
        """See `WindowReader`."""
        return self.image.valid.shape[0]

    @property
    def width(self) -> int:
        """See `WindowReader`."""
        return self.image.valid.shape[1]

    def read(self, window: Window) -> RasterImage:
        """See `WindowReader.read`."""
        return RasterImage(self.image.pixels[window.slices], self.image.valid[window.slices])


@dataclass(frozen=True)
class FileReader:
    """Reader of windows of a file that rasterio opens.

    Attributes:
        path: The file, or a name of GDAL's own.
        height: As in `WindowReader`.
        width: As in `WindowReader`.
        bands: Numbers of the one or three bands to read.
        limits: Of each band the values that become 0 and 255; None to keep its values.
        nodata: Pixels with this value in all bands are not valid; None for no such value.
        alpha: Whether a band that is declared alpha says which pixels are valid.
        stamps: Name, bytes and time of change (ns) of all local files that it consists of.
    """

    path: Path | str
    height: int
    width: int
    bands: tuple[int, ...]
    limits: tuple[tuple[float, float] | None, ...]
    nodata: float | None
    alpha: bool
    stamps: tuple[tuple[str, int, int], ...] = ()

    def read(self, window: Window) -> RasterImage:
        """See `WindowReader.read`; the file is opened for each window, so that no state is shared."""
        with naming_damage(self.path), open_source(self.path, ANY_SIZE, self.alpha) as source:
            if not isinstance(source, RasterioSource) or (source.height, source.width) != (
                self.height,
                self.width,
            ):
                raise self._changed()
            pixels = np.empty((window.height, window.width, 3), np.uint8)
            valid = np.empty((window.height, window.width), bool)
            for part in _tiles(window):
                place = part.relative_to(window).slices
                self._read_part(source, part, pixels[place], valid[place])
        if stamps_of([name for name, *_ in self.stamps]) != self.stamps:
            raise self._changed()
        return RasterImage(pixels, valid)

    def _read_part(self, source: RasterioSource, part: Window, pixels: np.ndarray, valid: np.ndarray) -> None:
        """Read a part of a window into its pixels and mask."""
        values = source.read_window(self.bands, part)
        declared = [source.read_window_mask(index, part) for index in self.bands]
        valid[:] = valid_pixels(values, band_masks(values, declared, self.nodata))
        for channel, (band, limits) in enumerate(zip(values, self.limits, strict=True)):
            scaling_to_8bit(band.dtype, limits)(band, pixels[:, :, channel])
        pixels[:, :, len(values) :] = pixels[:, :, :1]

    def _changed(self) -> ImageReadError:
        return ImageReadError(f"{self.path} has changed while it was read; leave it alone, and start anew")


def _tiles(window: Window) -> Iterator[Window]:
    """Cut a window along a grid that is anchored to the raster, so that few blocks are in two tiles."""
    for top in range(window.top // _TILE * _TILE, window.bottom, _TILE):
        for left in range(window.left // _TILE * _TILE, window.right, _TILE):
            yield Window(top, left, _TILE, _TILE).intersection(window)


class Reduced:
    """A raster reduced to about 4 million pixels by overviews or nearest neighbours; see `Source`.

    All is read at once, in tiles so small that their blocks are decoded once for values and masks.
    """

    def __init__(self, source: RasterioSource, bands: Sequence[int]) -> None:
        self._source, self._bands = source, tuple(bands)
        self._step = sample_step(source.height * source.width)
        self.height, self.width = -(-source.height // self._step), -(-source.width // self._step)
        self.rows = self.height
        self.count, self.driver, self.dtype = source.count, source.driver, source.dtype
        self.default_bands, self.orientation = source.default_bands, source.orientation
        self.georeference = source.georeference
        self._values: np.ndarray | None = None
        self._masks: list[np.ndarray | None] = [None] * len(self._bands)

    @property
    def notices(self) -> list[str]:
        """See `Source`."""
        return self._source.notices

    def read(self, indexes: Sequence[int], rows: slice) -> np.ndarray:
        """See `Source`; the bands are those of the constructor."""
        if self._values is None:
            for window in window_grid(self.height, self.width, self._side, self._side):
                self._fill(window)
        assert self._values is not None  # an image has pixels
        return self._values[:, rows]

    def read_mask(self, index: int, rows: slice) -> np.ndarray | None:
        """See `Source`."""
        mask = self._masks[self._bands.index(index)]
        return None if mask is None else mask[rows].copy()

    def describe_missing_band(self, index: int) -> str:
        """See `Source`."""
        return self._source.describe_missing_band(index)

    @property
    def _side(self) -> int:
        """Side of a tile in reduced pixels: of whole blocks, if they are 512 px or so."""
        return max(1, _TILE // self._step)

    def _fill(self, window: Window) -> None:
        """Read a window of the reduced raster."""
        top, left = window.top * self._step, window.left * self._step
        bottom = min(window.bottom * self._step, self._source.height)
        right = min(window.right * self._step, self._source.width)
        there, size = Window(top, left, bottom - top, right - left), (window.height, window.width)
        values = self._source.read_window(self._bands, there, size)
        if self._values is None:
            self._values = np.empty((len(values), self.height, self.width), values.dtype)
        self._values[:, *window.slices] = values
        for number, index in enumerate(self._bands):
            found = self._source.read_window_mask(index, there, size)
            if found is not None:
                mask = self._masks[number]
                if mask is None:
                    mask = self._masks[number] = np.ones((self.height, self.width), bool)
                mask[window.slices] = found


def survey(
    path: str | os.PathLike[str],
    bands: Sequence[int] | None = None,
    stretch: str | tuple[float, float] = "auto",
    nodata: float | None = None,
    alpha: bool = True,
) -> Survey:
    """Look at an image before its windows are read: bands, scaling, nodata, an overview.

    Rasters of rasterio are read in windows, whatever their size; percentiles of a stretch are those of a
    reduced read of the whole raster. Photographs of Pillow's formats, which can only be decoded as a whole,
    and images that EXIF turns are held in memory.

    Args:
        path: The image file, or a name of GDAL's own.
        bands: As for `rskt_seg.geo.read_image`.
        stretch: As there.
        nodata: As there.
        alpha: As there.

    Returns:
        What was found.

    Raises:
        ImageReadError: As `read_image`; of a photograph also above `rskt_seg.geo.raster.MAX_PIXELS`.
        ConfigError: As `read_image`.
    """
    source_path = as_source(path)
    check_file(source_path)
    rule, chosen = parse_stretch(stretch), check_bands(bands)
    with naming_damage(source_path), open_source(source_path, ANY_SIZE, alpha) as source:
        stamps = stamps_of(source.files if isinstance(source, RasterioSource) else [str(source_path)])
        files = [[os.path.basename(name), *stamp] for name, *stamp in stamps]
        facts: dict[str, object] = {"size": [source.height, source.width], "files": files}
        used = chosen or source.default_bands
        if isinstance(source, RasterioSource) and (
            source.orientation not in range(2, 9) or source.georeference is not None
        ):
            overview, scene = image_of(source_path, Reduced(source, used), used, rule, nodata)
            reader: WindowReader = FileReader(
                source_path, source.height, source.width, used, scene.limits, nodata, alpha, stamps
            )
            return Survey(reader, replace(overview, georeference=None), source.georeference, facts)
        if source.height * source.width > MAX_PIXELS:
            raise ImageReadError(
                f"{path} has {source.width} x {source.height} pixels, more than the {MAX_PIXELS} that are "
                f"read of a file that is decoded as a whole; convert it (gdal_translate -co TILED=YES)"
            )
        image, _ = image_of(source_path, source, used, rule, nodata)
        return _in_memory(image, facts)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return the size of an image file.

    Args:
        path: The image file, or a name of GDAL's own.

    Returns:
        (H, W) as it is stored, px.

    Raises:
        ImageReadError: The file is missing or no image.
    """
    source_path = as_source(path)
    check_file(source_path)
    with naming_damage(source_path), open_source(source_path, ANY_SIZE, georeference=False) as source:
        return source.height, source.width


def survey_image(image: RasterImage) -> Survey:
    """Return the survey of an image in memory.

    Args:
        image: The image.

    Returns:
        The survey, by whose facts no image is told from another of its size.
    """
    return _in_memory(image, {"size": list(image.valid.shape)})


def _in_memory(image: RasterImage, facts: dict[str, object]) -> Survey:
    step = sample_step(image.valid.size)
    grid = slice(None, None, step), slice(None, None, step)
    overview = replace(image, pixels=image.pixels[grid], valid=image.valid[grid], georeference=None)
    return Survey(ArrayReader(image), overview, image.georeference, facts)


def stamps_of(names: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    """Return name, bytes and time of change (ns) of those of some names that are local files."""
    found = [(name, os.stat(name)) for name in names if os.path.isfile(name)]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)
