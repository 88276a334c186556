"""Two ways to open an image file, Pillow and rasterio, behind one interface.

Pillow reads the 8-bit formats of photographs; rasterio reads everything else, above all TIFF. The content of
the file decides, never its name. rasterio and GDAL are imported only when a file needs them.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from rskt_seg.errors import ImageReadError
from rskt_seg.geo.georeference import Georeference, ignore_georeference_warnings

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_PILLOW_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
_GRAY_MODES = {"1", "L", "LA", "La"}
_RASTERIO_FORMATS = {"JPEG2000", "PPM", "FITS", "HDF5", "GRIB"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Source(Protocol):
    """An open image file; bands are numbered from 1, and an alpha band is not counted.

    Attributes:
        height: Rows of pixels.
        width: Columns of pixels.
        count: Number of bands that can be read.
        driver: Format of the file, such as "GTiff" or "PNG".
        default_bands: The one or three bands to read as colours unless others are requested.
        orientation: EXIF orientation, 1 if there is none.
        georeference: None for an image without one.
        notices: One line for every choice made while opening.
    """

    height: int
    width: int
    count: int
    driver: str
    default_bands: tuple[int, ...]
    orientation: int
    georeference: Georeference | None
    notices: list[str]

    def read_band(self, index: int) -> np.ndarray:
        """Return the values (H, W) of a band in the dtype of the file."""

    def read_mask(self, index: int) -> np.ndarray:
        """Return where a band has data: (H, W) bool, a new array."""

    def describe_missing_band(self, index: int) -> str:
        """Return the reason why band `index` cannot be read, for an error message."""


@contextmanager
def open_source(path: Path, max_pixels: int) -> Iterator[Source]:
    """Open an image file with whichever library suits its content.

    Args:
        path: An existing file.
        max_pixels: The largest raster that may be read, in pixels.

    Yields:
        The open file.

    Raises:
        ImageReadError: Neither library can open the file, or it has more than `max_pixels` pixels.
    """
    image, refusal = _open_with_pillow(path)
    if image is not None:
        with image:
            yield PillowSource(path, image)
        return
    import rasterio
    from rasterio.errors import RasterioError

    with ignore_georeference_warnings():
        try:
            dataset = rasterio.open(path)
        except RasterioError as error:
            raise ImageReadError(
                f"cannot read {path} as an image: Pillow: {refusal}; rasterio: {error}; expected a format "
                "of Pillow (PNG, JPEG, BMP, GIF, WebP, ...) or rasterio (GeoTIFF, JPEG 2000, VRT, ...)"
            ) from error
        with dataset:
            yield RasterioSource(path, dataset, max_pixels)


class PillowSource:
    """An image that Pillow has identified: gray (1 band) or RGB (3 bands), 8 bit, palettes expanded."""

    def __init__(self, path: Path, image: Image.Image) -> None:
        self.driver = image.format or ""
        self.notices: list[str] = []
        if getattr(image, "is_animated", False) and image.format != "MPO":
            self.notices.append("animated image: the first frame is used")
        self.orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
        self.georeference = _read_sidecar_georeference(path)
        mode = "L" if image.mode in _GRAY_MODES else "RGB"
        self.count = len(mode)
        if image.has_transparency_data:
            mode += "A"
        channels = np.asarray(image.convert(mode))
        channels = channels.reshape(*channels.shape[:2], -1)
        self._values = channels[:, :, : self.count]
        self._alpha = channels[:, :, self.count] if mode.endswith("A") else None
        self.height, self.width = channels.shape[:2]
        self.default_bands = tuple(range(1, self.count + 1))

    def read_band(self, index: int) -> np.ndarray:
        """Return gray, red, green or blue: (H, W) uint8."""
        return self._values[:, :, index - 1]

    def read_mask(self, index: int) -> np.ndarray:
        """Return where alpha is not 0: (H, W) bool, the same for every band."""
        if self._alpha is None:
            return np.ones((self.height, self.width), bool)
        return self._alpha > 0

    def describe_missing_band(self, index: int) -> str:
        """Return the reason why band `index` cannot be read."""
        if self._alpha is not None and index == self.count + 1:
            return f"band {index} is alpha, which is never classified"
        return f"no band {index}"


class RasterioSource:
    """A raster open in rasterio. A single palette band counts as three: its red, green and blue."""

    def __init__(self, path: Path, dataset: "DatasetReader", max_pixels: int) -> None:
        from rasterio.enums import ColorInterp

        self._dataset = dataset
        _check_dataset(path, dataset, max_pixels)
        self.driver: str = dataset.driver
        self.height: int = dataset.height
        self.width: int = dataset.width
        self.georeference = Georeference.from_dataset(dataset)
        self.orientation = _read_raster_orientation(path, dataset)
        self.notices: list[str] = []
        if dataset.subdatasets:
            self.notices.append(f"file of {len(dataset.subdatasets)} images: the first is used")
        is_palette = dataset.colorinterp[0] == ColorInterp.palette
        self._palette = _read_color_table(dataset) if is_palette else None
        self.count: int = 3 if is_palette else dataset.count
        self.default_bands = (1, 2, 3) if is_palette else self._choose_bands()

    def _choose_bands(self) -> tuple[int, ...]:
        """Return the bands declared red, green and blue, else the first three, else the first."""
        from rasterio.enums import ColorInterp

        roles = self._dataset.colorinterp
        colors = [i for i in self._dataset.indexes if roles[i - 1] != ColorInterp.alpha]
        rgb = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        chosen: tuple[int, ...]
        if set(rgb) <= set(roles):
            chosen, reason = tuple(roles.index(role) + 1 for role in rgb), "declared red, green, blue"
        elif len(colors) >= 3:
            chosen, reason = tuple(colors[:3]), "the first three; no band is declared red, green or blue"
        else:
            chosen, reason = tuple(colors[:1]), "the first"
        if len(colors) > len(chosen) or chosen not in ((1,), (1, 2, 3)):
            numbers = ", ".join(map(str, chosen))
            self.notices.append(
                f"bands {numbers} of {len(colors)} are used as the colours ({reason}); choose others by bands"
            )
        return chosen

    def read_band(self, index: int) -> np.ndarray:
        """Return the values (H, W) of a band: of a palette image a colour channel, uint8.

        Samples of fewer than 8 bits are stretched to 0..255.
        """
        if self._palette is not None:
            return self._palette[self._dataset.read(1), index - 1]
        values: np.ndarray = self._dataset.read(index)
        bits = int(self._dataset.tags(index, ns="IMAGE_STRUCTURE").get("NBITS", 8))
        if values.dtype == np.uint8 and bits < 8:
            values = (values.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
        return values

    def read_mask(self, index: int) -> np.ndarray:
        """Return where a band has data: (H, W) bool, by nodata, alpha, the file's mask or the palette."""
        if self._palette is not None:
            return (self._dataset.read_masks(1) > 0) & (self._palette[self._dataset.read(1), 3] > 0)
        return self._dataset.read_masks(index) > 0

    def describe_missing_band(self, index: int) -> str:
        """Return the reason why band `index` cannot be read."""
        if self._palette is not None:
            return f"a palette image has red, green and blue (1, 2, 3), no band {index}"
        return f"no band {index}"


def _open_with_pillow(path: Path) -> tuple[Image.Image | None, str]:
    """Return the identified but not decoded image, or None and why Pillow should not read the file."""
    with path.open("rb") as file:
        header = file.read(25)
    if header.startswith(_TIFF_SIGNATURES):
        return None, "not asked for TIFF"  # it knows too few kinds and reads some of them wrongly
    if header.startswith(_PNG_SIGNATURE) and header[24:25] == b"\x10":
        return None, "not asked for 16 bits"  # of 16-bit colour it keeps only the high byte
    with warnings.catch_warnings():
        # Above its limit Pillow warns, then refuses; rasterio reads such files.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(path)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            return None, "the image is too large"
        except Exception as error:  # plug-ins fail in many ways on files that are not theirs
            return None, type(error).__name__
    if image.mode in _PILLOW_MODES and image.format not in _RASTERIO_FORMATS:
        return image, ""
    image.close()
    return None, f"not asked for {image.format} {image.mode}"


def _read_sidecar_georeference(path: Path) -> Georeference | None:
    """Return the georeference that a world file or GDAL's .aux.xml gives to an image of any format."""
    import rasterio
    from rasterio.errors import RasterioError

    with ignore_georeference_warnings():
        try:
            with rasterio.open(path) as dataset:
                return Georeference.from_dataset(dataset)
        except RasterioError:
            return None


def _read_raster_orientation(path: Path, dataset: "DatasetReader") -> int:
    with path.open("rb") as file:
        header = file.read(8)
        if not header.startswith(_TIFF_SIGNATURES):
            return int(dataset.tags().get("EXIF_Orientation", 1))
        # GDAL does not report the tag of a TIFF, and Pillow does not open every kind of TIFF.
        if header[2:4] in (b"+\0", b"\0+"):  # BigTIFF: a longer header
            header += file.read(8)
        directory = ImageFileDirectory_v2(header)
        file.seek(directory.next)
        directory.load(file)
    return directory.get(ExifTags.Base.Orientation, 1)


def _read_color_table(dataset: "DatasetReader") -> np.ndarray:
    """Return the colour table of band 1 as (K, 4) uint8 RGBA, with a row for every value of its dtype."""
    rows = 2 ** (8 * np.dtype(dataset.dtypes[0]).itemsize)
    table = np.zeros((rows, 4), np.uint8)
    table[:, 3] = 255
    for value, color in dataset.colormap(1).items():
        table[value] = color
    return table


def _check_dataset(path: Path, dataset: "DatasetReader", max_pixels: int) -> None:
    if dataset.count == 0:
        names = ", ".join(dataset.subdatasets[:5]) or "none"
        raise ImageReadError(f"{path} has no image bands of its own; sub-datasets: {names}")
    if dataset.width * dataset.height > max_pixels:
        raise ImageReadError(
            f"{path} has {dataset.width} x {dataset.height} pixels, more than the {max_pixels} that are read "
            "into memory at once; cut it into smaller files (gdal_translate -srcwin)"
        )
    if any(dtype.startswith("complex") for dtype in dataset.dtypes):
        raise ImageReadError(f"{path} has complex bands ({dataset.dtypes[0]}); convert them to amplitudes")
