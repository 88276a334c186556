"""Reading of the pixels of a scene and of which of them are valid, some rows at a time."""

from collections.abc import Iterator, Sequence

import numpy as np

from rskt_seg.geo.fill import FillSearch
from rskt_seg.geo.sources import Source
from rskt_seg.geo.stretch import Scaling, Stretch, sample_step, scaling_to_8bit

# EXIF says where the first row and the first column of the file lie in the image: 1 top left, 2 top right,
# 3 bottom right, 4 bottom left, 5 left top, 6 right top, 7 right bottom, 8 left bottom.
_STORED_FROM_BELOW = (3, 4, 6, 7)
_STORED_FROM_RIGHT = (2, 3, 7, 8)
_EVERYWHERE = slice(None), slice(None)


class Scene:
    """An image that is filled from a source some rows at a time: nothing else of its size is in memory.

    Args:
        source: The open file.
        bands: Numbers of the one or three bands to read.
        rule: How values become 8 bits.
        nodata: Pixels with this value in all bands are not valid; None for no such value.
        orientation: EXIF orientation to apply, 1 for none.

    Attributes:
        pixels: (H, W, 3) uint8, oriented.
        valid: (H, W) bool, oriented.
        fill: What large areas at the border have one value.
        dtype: Of the values as the source gives them.
        limits: Of each band, once read: the values that become 0 and 255; None if values are kept.
    """

    def __init__(
        self, source: Source, bands: tuple[int, ...], rule: Stretch, nodata: float | None, orientation: int
    ) -> None:
        self._source, self._bands, self._rule, self._nodata = source, bands, rule, nodata
        height, width = source.height, source.width
        shape = (width, height) if orientation >= 5 else (height, width)
        self.pixels, self.valid = np.empty((*shape, 3), np.uint8), np.empty(shape, bool)
        # Views of both in the order of the file.
        self._pixels, self._valid = _as_stored(self.pixels, orientation), _as_stored(self.valid, orientation)
        self.fill = FillSearch(height, width)
        self.dtype = np.dtype(np.uint8)
        self.limits: tuple[tuple[float, float] | None, ...] = (None,) * len(bands)
        self._step = sample_step(height * width)
        self._samples: list[list[np.ndarray]] = [[] for _ in bands]

    def read(self) -> list[str]:
        """Fill pixels and mask: 8-bit values as they are read, others when the whole scene is known.

        Returns:
            How each band was scaled; nothing if it was taken as it is.
        """
        for rows in self._parts():
            self._survey(rows)
        if self._keeps_bytes():
            if self.fill.is_open():
                values = np.moveaxis(self._pixels[:, :, : len(self._bands)], 2, 0)
                self.fill.examine(values, self._valid)
            return []
        if self._rule.needs_sample(self.dtype):
            self._complete_samples()
        limits = []
        for parts in self._samples:
            limits.append(self._rule.limits(np.concatenate([np.empty(0, self.dtype), *parts])))
            parts.clear()
        self.limits = tuple(limits)
        writers = [scaling_to_8bit(self.dtype, ends) for ends in limits]
        outside = np.sum([self._write(rows, writers) for rows in self._parts()], axis=0)
        return _describe_scaling(self._bands, limits, (outside / self._valid.size).tolist())

    def _keeps_bytes(self) -> bool:
        return self.dtype == np.uint8 and self._rule.keeps(self.dtype)

    def _parts(self) -> Iterator[slice]:
        """Yield the rows that are read at a time, by functions at whose end their values are freed."""
        for start in range(0, self._source.height, self._source.rows):
            yield slice(start, min(start + self._source.rows, self._source.height))

    def _survey(self, rows: slice) -> None:
        """Read rows for the first time: mask, bytes that are kept, and a sample of others."""
        values = self._source.read(self._bands, rows)
        self.dtype = values.dtype
        masks = self._valid_bands(rows, values)
        valid = valid_pixels(values, masks)
        self._valid[rows] = valid
        self.fill.survey(rows.start, values, valid)
        if self._keeps_bytes():
            self._pixels[rows] = np.moveaxis(values, 0, 2)
        elif self._rule.needs_sample(values.dtype):
            grid = slice(-rows.start % self._step, None, self._step), slice(None, None, self._step)
            for channel, parts in enumerate(self._samples):
                parts.append(_valid_values(values, masks, channel, grid))

    def _valid_bands(self, rows: slice, values: np.ndarray) -> list[np.ndarray] | None:
        """Return where each band has data, (rows, W) bool; None if all do everywhere."""
        found = [self._source.read_mask(index, rows) for index in self._bands]
        return band_masks(values, found, self._nodata)

    def _complete_samples(self) -> None:
        """Take all valid values of the bands of which the sample has none."""
        # The few valid pixels may lie between those of the grid.
        empty = [channel for channel, parts in enumerate(self._samples) if not any(map(np.size, parts))]
        for rows in self._parts() if empty else ():
            values = self._source.read(self._bands, rows)
            masks = self._valid_bands(rows, values)
            for channel in empty:
                self._samples[channel].append(_valid_values(values, masks, channel, _EVERYWHERE))

    def _write(self, rows: slice, writers: Sequence[Scaling]) -> list[int]:
        """Read rows once more and write them as 8 bits. Return how many values of each band were cut."""
        values = self._source.read(self._bands, rows)
        self.fill.examine(values, self._valid[rows])
        pixels = self._pixels[rows]
        cut = [
            write(band, pixels[:, :, channel])
            for channel, (write, band) in enumerate(zip(writers, values, strict=True))
        ]
        pixels[:, :, len(writers) :] = pixels[:, :, :1]
        return cut


def band_masks(
    values: np.ndarray, declared: Sequence[np.ndarray | None], nodata: float | None
) -> list[np.ndarray] | None:
    """Return where each band has data.

    Args:
        values: Values (n, h, w) of n bands.
        declared: Where each has data as the file says, (h, w) bool, changed in place; None: everywhere.
        nodata: Pixels with this value in all bands have no data; None for no such value.

    Returns:
        Masks (h, w) bool of the n bands; None if all have data everywhere.
    """
    if nodata is None and all(mask is None for mask in declared):
        return None
    masks = [np.ones(values.shape[1:], bool) if mask is None else mask for mask in declared]
    if nodata is not None:
        filled = np.isnan(values) if np.isnan(nodata) else values == nodata
        for mask in masks:
            mask &= ~filled.all(axis=0)
    return masks


def valid_pixels(values: np.ndarray, masks: list[np.ndarray] | None) -> np.ndarray:
    """Return which pixels are valid.

    Args:
        values: Values (n, h, w) of n bands.
        masks: What `band_masks` returned for them.

    Returns:
        (h, w) bool: data in any band is enough, so that true black survives where only some bands equal the
        nodata value; all bands have to be finite.
    """
    valid = np.any(masks, axis=0) if masks is not None else np.ones(values.shape[1:], bool)
    if values.dtype.kind == "f":
        valid &= np.isfinite(values).all(axis=0)
    return valid


def _describe_scaling(
    bands: Sequence[int], limits: Sequence[tuple[float, float] | None], outside: Sequence[float]
) -> list[str]:
    """Return how each band was scaled, from its limits and the share (0..1) of values outside 0..255."""
    scaling = []
    for index, ends, share in zip(bands, limits, outside, strict=True):
        if ends is not None:
            scaling.append(f"band {index} {ends[0]:g}..{ends[1]:g}")
        elif share:
            scaling.append(f"band {index} has {share:.1%} outside 0..255, which are cut")
    return scaling


def _valid_values(
    values: np.ndarray, masks: list[np.ndarray] | None, channel: int, grid: tuple[slice, slice]
) -> np.ndarray:
    """Return the valid and finite values (n,) of a channel on a grid of its rows and columns."""
    band = values[channel][grid]
    known = np.isfinite(band)
    return np.asarray(band[known if masks is None else known & masks[channel][grid]])


def _as_stored(array: np.ndarray, orientation: int) -> np.ndarray:
    """Return a view of an oriented image (H, W, ...) in the order of the file, by its EXIF orientation."""
    if orientation >= 5:  # stored columns are rows of the image
        array = np.swapaxes(array, 0, 1)
    rows = slice(None, None, -1 if orientation in _STORED_FROM_BELOW else 1)
    columns = slice(None, None, -1 if orientation in _STORED_FROM_RIGHT else 1)
    return array[rows, columns]
