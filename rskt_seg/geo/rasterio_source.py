"""Rasters that rasterio reads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rskt_seg.errors import ImageReadError
from rskt_seg.geo.alpha import AlphaCounts
from rskt_seg.geo.band_names import doubt_names, find_named_colors
from rskt_seg.geo.deflate import RowChecksums, window_fault
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.tiff import Directory
from rskt_seg.windows import Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window as GdalWindow

_BYTES = 2**23
"""Bytes of samples that are read at a time, unless a row of strips or tiles has more."""


class RasterioSource:
    """A raster open in rasterio. A single palette band counts as three: its red, green and blue.

    Args:
        path: The file.
        dataset: The open raster.
        max_pixels: The largest raster that may be read, in pixels.
        alpha: Whether a band that is declared alpha says which pixels are valid; else it is data.
        directory: The directory of the picture in a TIFF file, if it could be read.

    Raises:
        ImageReadError: The raster has no bands, complex bands, or too many pixels.
    """

    def __init__(
        self,
        path: Path | str,
        dataset: "DatasetReader",
        max_pixels: int,
        alpha: bool = True,
        directory: Directory | None = None,
    ) -> None:
        from rasterio.enums import ColorInterp

        self._path, self._dataset, self._directory = path, dataset, directory
        _check_dataset(path, dataset, max_pixels)
        self.driver: str = dataset.driver
        self.height: int = dataset.height
        self.width: int = dataset.width
        self.georeference = Georeference.from_dataset(dataset)
        stated = int(dataset.tags().get("EXIF_Orientation", 1))
        self.orientation = stated if directory is None else directory.orientation
        self._opening: list[str] = []
        if dataset.subdatasets:
            self._opening.append(f"file of {len(dataset.subdatasets)} images: the first is used")
        is_palette = dataset.colorinterp[0] == ColorInterp.palette
        self._palette = _read_color_table(dataset) if is_palette else None
        signed = dataset.tags(1, ns="IMAGE_STRUCTURE").get("PIXELTYPE") == "SIGNEDBYTE"
        self.dtype: str = "uint8" if is_palette else "int8" if signed else dataset.dtypes[0]
        self._is_inverted = dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
        self._alpha = alpha
        self.rows = _rows_at_a_time(dataset)
        self._checksums: RowChecksums | None = None
        roles = dataset.colorinterp
        self._alpha_band = roles.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in roles else 0
        self._alpha_counts = AlphaCounts(self._alpha_band)
        self.count: int = 3 if is_palette else dataset.count
        self.default_bands = (1, 2, 3) if is_palette else self._choose_bands()

    def _choose_bands(self) -> tuple[int, ...]:
        """Return the bands declared or named red, green and blue, else the first three, else the first."""
        from rasterio.enums import ColorInterp

        roles, names = self._dataset.colorinterp, self._dataset.descriptions
        data = [i for i in self._dataset.indexes if roles[i - 1] != ColorInterp.alpha or not self._alpha]
        rgb = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        declared = tuple(roles.index(role) + 1 for role in rgb) if set(rgb) <= set(roles) else None
        named = find_named_colors(names)
        chosen: tuple[int, ...]
        # GDAL declares the first three of 8-bit bands red, green and blue unless it is told otherwise.
        if named and declared in (None, (1, 2, 3)):
            chosen, reason = named, f"named {', '.join(str(names[i - 1]).strip() for i in named)}"
        elif declared:
            chosen, reason = declared, "declared red, green, blue"
        elif len(data) >= 3:
            chosen, reason = tuple(data[:3]), "the first three; no band is declared red, green or blue"
        else:
            chosen, reason = tuple(data[:1]), "the first"
        doubt = doubt_names([names[i - 1] for i in chosen]) if len(chosen) == 3 and chosen != named else ""
        if len(data) > len(chosen) or chosen not in ((1,), (1, 2, 3)) or doubt:
            used = "bands {} of {} are" if len(chosen) > 1 else "band {} of {} is"
            used = used.format(", ".join(map(str, chosen)), len(data))
            reason = f"{reason}, {doubt}" if doubt else reason
            self._opening.append(f"{used} used as the colours ({reason}); choose others by bands")
        return chosen

    @property
    def notices(self) -> list[str]:
        """One line for every choice made while opening and reading."""
        return [*self._opening, *self._alpha_counts.notice()]

    @property
    def band_names(self) -> tuple[str, ...]:
        """Descriptions of the bands as the file has them, "" for a band without one."""
        return tuple(str(name or "").strip() for name in self._dataset.descriptions)

    @property
    def files(self) -> list[str]:
        """Names of the files that the raster consists of, such as those of a mosaic, as GDAL knows them."""
        return list(self._dataset.files)

    def read(self, indexes: Sequence[int], rows: slice) -> np.ndarray:
        """Return the values (n, rows, W) of bands: of a palette image the colour channels, uint8.

        Samples of fewer than 8 bits are stretched to 0..255; of WhiteIsZero images, unsigned samples are
        inverted.
        """
        whole = Window(rows.start, 0, rows.stop - rows.start, self.width)
        return self._values(indexes, whole, None, lambda samples: self._refuse_damage(rows, samples))

    def read_window(
        self, indexes: Sequence[int], window: Window, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Return the values of bands in a window, as `read`.

        Args:
            indexes: Numbers of n bands.
            window: A window inside the raster.
            size: (h, w) to which GDAL reduces the window by nearest neighbour, or from overviews; None: as it
                is.

        Returns:
            (n, h, w) in the dtype of the file.

        Raises:
            ImageReadError: Its deflated data are damaged there, of which not all is looked at where it is
                reduced.
        """
        if size is None and self._directory is not None:
            with open(self._path, "rb") as file:
                self._refuse(window_fault(file, self._directory.offset, window))
        return self._values(indexes, window, size, lambda samples: None)

    def _values(
        self,
        indexes: Sequence[int],
        window: Window,
        size: tuple[int, int] | None,
        check: Callable[[np.ndarray | None], None],
    ) -> np.ndarray:
        """Return the values of bands; `check` gets the samples of all bands, or None if not all are read."""
        if self._palette is not None:
            indices = self._read_band(1, window, size)
            check(indices[..., None])
            return np.moveaxis(self._palette[indices][..., [i - 1 for i in indexes]], -1, 0)
        # Pixel by pixel, as a picture needs them: to interleave planes afterwards takes as long as reading.
        shape = (*(size or (window.height, window.width)), len(indexes))
        interleaved = np.empty(shape, self._dataset.dtypes[indexes[0] - 1])
        out = np.moveaxis(interleaved, 2, 0)
        values = self._dataset.read(list(indexes), out=out, window=_gdal_window(window))
        check(interleaved if tuple(indexes) == self._dataset.indexes else None)
        if self.dtype == "int8":
            values = values.view(np.int8)
        bits = int(self._dataset.tags(indexes[0], ns="IMAGE_STRUCTURE").get("NBITS", 8))
        if values.dtype == np.uint8 and bits < 8:
            values = (values.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
        if self._is_inverted and values.dtype.kind == "u":
            values = np.iinfo(values.dtype).max - values
        return values

    def read_mask(self, index: int, rows: slice) -> np.ndarray | None:
        """Return where a band has data: (rows, W) bool, by nodata, alpha, the file's mask or the palette.

        Returns:
            A new array; None if the band has data everywhere.
        """
        return self.read_window_mask(index, Window(rows.start, 0, rows.stop - rows.start, self.width))

    def read_window_mask(
        self, index: int, window: Window, size: tuple[int, int] | None = None
    ) -> np.ndarray | None:
        """Return where a band has data in a window, as `read_mask`; arguments as those of `read_window`."""
        from rasterio.enums import MaskFlags

        masked = 1 if self._palette is not None else index
        flags = self._dataset.mask_flag_enums[masked - 1]
        mask: np.ndarray | None = None
        if MaskFlags.all_valid not in flags and (self._alpha or MaskFlags.alpha not in flags):
            mask = self._dataset.read_masks(masked, window=_gdal_window(window), out_shape=size) > 0
        if self._palette is not None and (self._palette[:, 3] == 0).any():
            opaque = self._palette[self._read_band(1, window, size), 3] > 0
            mask = opaque if mask is None else mask & opaque
        by_alpha = MaskFlags.alpha in flags
        if self._alpha and not by_alpha and self._alpha_band not in (0, index):
            # GDAL makes masks of alpha bands of unsigned 8 and 16 bits alone, of the last band, and of files
            # without nodata and masks.
            visible = self._read_band(self._alpha_band, window, size) > 0
            mask, by_alpha = visible if mask is None else mask & visible, True
        if by_alpha and mask is not None and index == self.default_bands[0]:
            self._alpha_counts.add(self._read_band(self._alpha_band, window, size))
        return mask

    def describe_missing_band(self, index: int) -> str:
        """Return the reason why band `index` cannot be read."""
        if self._palette is not None:
            return f"a palette image has red, green and blue (1, 2, 3), no band {index}"
        return f"no band {index}"

    def _read_band(self, index: int, window: Window, size: tuple[int, int] | None) -> np.ndarray:
        """Return the samples of a band as they are stored."""
        return np.asarray(self._dataset.read(index, window=_gdal_window(window), out_shape=size))

    def _refuse_damage(self, rows: slice, pixels: np.ndarray | None) -> None:
        """Compare the checksums of deflated data, with the decoded samples of all bands if they are known."""
        if self._directory is None:
            return
        with open(self._path, "rb") as file:
            if self._checksums is None:
                shape = (self.height, self.width, self._dataset.count)
                dtype = np.dtype(self._dataset.dtypes[0])
                self._checksums = RowChecksums(file, self._directory.offset, shape, dtype)
            self._refuse(self._checksums.fault(file, rows.start, pixels))

    def _refuse(self, fault: str) -> None:
        if fault:
            raise ImageReadError(f"cannot read {self._path}: damaged or incomplete: {fault}; copy it again")


def _gdal_window(window: Window) -> "GdalWindow":
    from rasterio.windows import Window as GdalWindow

    return GdalWindow(window.left, window.top, window.width, window.height)


def _rows_at_a_time(dataset: "DatasetReader") -> int:
    """Return a number of whole rows of strips or tiles that stays below `_BYTES`, or one row of them."""
    block = max(height for height, _ in dataset.block_shapes)
    row_bytes = dataset.width * sum(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    return max(1, _BYTES // row_bytes // block) * block


def _read_color_table(dataset: "DatasetReader") -> np.ndarray:
    """Return the colour table of band 1 as (K, 4) uint8 RGBA, with a row for every value of its dtype."""
    rows = 2 ** (8 * np.dtype(dataset.dtypes[0]).itemsize)
    table = np.zeros((rows, 4), np.uint8)
    table[:, 3] = 255
    for value, color in dataset.colormap(1).items():
        table[value] = color
    return table


def _check_dataset(path: Path | str, dataset: "DatasetReader", max_pixels: int) -> None:
    if dataset.count == 0:
        names = ", ".join(dataset.subdatasets[:5]) or "none"
        raise ImageReadError(
            f"{path} has no image bands of its own; give one of its sub-datasets in its place: {names}"
        )
    if dataset.width * dataset.height > max_pixels:
        raise ImageReadError(
            f"{path} has {dataset.width} x {dataset.height} pixels, more than the {max_pixels} that are read "
            "into memory at once; cut it into smaller files (gdal_translate -srcwin)"
        )
    if any(dtype.startswith("complex") for dtype in dataset.dtypes):
        raise ImageReadError(f"{path} has complex bands ({dataset.dtypes[0]}); convert them to amplitudes")
