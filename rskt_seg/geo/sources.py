"""The two ways to open an image file, Pillow and rasterio, behind one interface.

Pillow reads the 8-bit formats of photographs; rasterio reads all the rest, TIFF first of all. Content
decides, never the name. rasterio and its GDAL are imported only when a file needs them.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from rskt_seg.errors import ImageReadError
from rskt_seg.geo.georeference import Georeference, without_georeference_warnings

_ORIENTATION = 274
_PILLOW_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
_GRAY_MODES = {"1", "L", "LA", "La"}
_RASTERIO_FORMATS = {"JPEG2000", "PPM", "FITS", "HDF5", "GRIB"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Source(Protocol):
    """An open image of `count` bands (1-based) and height x width pixels, alpha left out."""

    height: int
    width: int
    count: int
    driver: str
    default_bands: tuple[int, ...]
    orientation: int
    georeference: Georeference | None
    notices: list[str]

    def band(self, index: int) -> np.ndarray:
        """Values (H, W) of a band, in the dtype of the file."""

    def known(self, index: int) -> np.ndarray:
        """(H, W) bool: where band `index` holds data."""

    def why_absent(self, index: int) -> str:
        """What to tell a user who asked for a band that is not there."""


@contextmanager
def open_source(path: Path, max_pixels: int) -> Iterator[Source]:
    """The file opened by whichever library suits its content.

    Raises `ImageReadError` for a file of more than `max_pixels`, or that neither library opens.
    """
    image, refusal = _pillow_image(path)
    if image is not None:
        with image:
            yield PillowSource(path, image)
    else:
        with _raster(path, refusal) as dataset:
            yield RasterioSource(path, dataset, max_pixels)


@contextmanager
def _raster(path: Path, refusal: str):
    import rasterio
    from rasterio.errors import RasterioError

    with without_georeference_warnings():
        try:
            dataset = rasterio.open(path)
        except RasterioError as error:
            raise ImageReadError(
                f"cannot read {path} as an image: Pillow: {refusal}; rasterio: {error}; expected a kind that "
                "Pillow (PNG, JPEG, BMP, GIF, WebP, ...) or rasterio (GeoTIFF, JPEG 2000, VRT, ...) reads"
            ) from error
        with dataset:
            yield dataset


def orient(array: np.ndarray, orientation: int) -> np.ndarray:
    """An array (H, W, ...) as EXIF tag 274 (1..8) says it is to be shown."""
    turned = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }
    return np.ascontiguousarray(turned[orientation](array)) if orientation in turned else array


class PillowSource:
    """An image that Pillow has identified: grey (1 band) or RGB (3 bands), 8 bit, palettes expanded."""

    def __init__(self, path: Path, image: Image.Image) -> None:
        self.driver = image.format
        self.notices = []
        if getattr(image, "is_animated", False) and image.format != "MPO":
            self.notices.append("animated image: the first frame is used")
        self.orientation = image.getexif().get(_ORIENTATION, 1)
        self.georeference = _beside(path)
        kind = "L" if image.mode in _GRAY_MODES else "RGB"
        if image.has_transparency_data:
            kind = {"L": "LA", "RGB": "RGBA"}[kind]
        channels = np.asarray(image.convert(kind))
        channels = channels.reshape(*channels.shape[:2], -1)
        self.count = len(kind.rstrip("A"))
        self._values = channels[:, :, : self.count]
        self._alpha = channels[:, :, self.count] if kind.endswith("A") else None
        self.height, self.width = channels.shape[:2]
        self.default_bands = tuple(range(1, self.count + 1))

    def band(self, index: int) -> np.ndarray:
        return self._values[:, :, index - 1]

    def known(self, index: int) -> np.ndarray:
        if self._alpha is None:
            return np.ones((self.height, self.width), bool)
        return self._alpha > 0

    def why_absent(self, index: int) -> str:
        if self._alpha is not None and index == self.count + 1:
            return f"band {index} is alpha, which is never classified"
        return f"no band {index}"


class RasterioSource:
    """A raster open in rasterio. A single palette band counts as three: its red, green and blue."""

    def __init__(self, path: Path, dataset, max_pixels: int) -> None:
        from rasterio.enums import ColorInterp

        self._dataset = dataset
        _check_dataset(path, dataset, max_pixels)
        self.driver = dataset.driver
        self.height, self.width = dataset.height, dataset.width
        self.georeference = Georeference.of(dataset)
        self.orientation = _raster_orientation(path, dataset)
        self.notices = []
        if dataset.subdatasets:
            self.notices.append(f"file of {len(dataset.subdatasets)} images: the first is used")
        self._roles = dataset.colorinterp
        self._alpha = {i for i in dataset.indexes if self._roles[i - 1] == ColorInterp.alpha}
        self._palette = None
        if self._roles[0] == ColorInterp.palette:
            self._palette = _palette(dataset)
        self.count = 3 if self._palette is not None else dataset.count
        self.default_bands = (1, 2, 3) if self._palette is not None else self._declared_bands()

    def _declared_bands(self) -> tuple[int, ...]:
        from rasterio.enums import ColorInterp

        colours = [i for i in self._dataset.indexes if i not in self._alpha]
        wanted = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        if set(wanted) <= set(self._roles):
            chosen, reason = (
                tuple(self._roles.index(role) + 1 for role in wanted),
                "declared red, green, blue",
            )
        elif len(colours) >= 3:
            chosen, reason = tuple(colours[:3]), "the first three; no band is declared red, green or blue"
        else:
            chosen, reason = tuple(colours[:1]), "the first"
        if len(colours) > len(chosen) or chosen not in ((1,), (1, 2, 3)):
            listed = ", ".join(map(str, chosen))
            self.notices.append(
                f"of {len(colours)} bands {listed} are used as the colours ({reason}); bands chooses others"
            )
        return chosen

    def band(self, index: int) -> np.ndarray:
        """As the protocol; of a palette image a colour channel, fewer than 8 bits stretched to 0..255."""
        if self._palette is not None:
            return self._palette[self._dataset.read(1), index - 1]
        values = self._dataset.read(index)
        bits = int(self._dataset.tags(index, ns="IMAGE_STRUCTURE").get("NBITS", 8))
        if values.dtype == np.uint8 and bits < 8:
            values = (values.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
        return values

    def known(self, index: int) -> np.ndarray:
        if self._palette is not None:
            return (self._dataset.read_masks(1) > 0) & (self._palette[self._dataset.read(1), 3] > 0)
        return self._dataset.read_masks(index) > 0

    def why_absent(self, index: int) -> str:
        if self._palette is not None:
            return f"a palette image has red, green and blue (1, 2, 3), no band {index}"
        return f"no band {index}"


def _pillow_image(path: Path) -> tuple[Image.Image | None, str]:
    """The file as Pillow identifies it, not decoded yet, or None and why Pillow is not to read it."""
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


def _beside(path: Path) -> Georeference | None:
    """The georeference that a world file or GDAL's side-car gives to an image of any format."""
    import rasterio
    from rasterio.errors import RasterioError

    with without_georeference_warnings():
        try:
            with rasterio.open(path) as dataset:
                return Georeference.of(dataset)
        except RasterioError:
            return None


def _raster_orientation(path: Path, dataset) -> int:
    with path.open("rb") as file:
        header = file.read(8)
        if not header.startswith(_TIFF_SIGNATURES):
            return int(dataset.tags().get("EXIF_Orientation", 1))
        if header[2:4] in (b"+\0", b"\0+"):  # BigTIFF: a longer header
            header += file.read(8)
        directory = ImageFileDirectory_v2(header)
        file.seek(directory.next)
        directory.load(file)
    return directory.get(_ORIENTATION, 1)


def _palette(dataset) -> np.ndarray:
    """The colour table of band 1 as (K, 4) uint8, with a row for every value the band can take."""
    rows = 2 ** (8 * np.dtype(dataset.dtypes[0]).itemsize)
    table = np.zeros((rows, 4), np.uint8)
    table[:, 3] = 255
    for value, colour in dataset.colormap(1).items():
        table[value] = colour
    return table


def _check_dataset(path: Path, dataset, max_pixels: int) -> None:
    if dataset.count == 0:
        listed = ", ".join(dataset.subdatasets[:5]) or "none"
        raise ImageReadError(f"{path} holds no image bands of its own; sub-datasets: {listed}")
    if dataset.width * dataset.height > max_pixels:
        raise ImageReadError(
            f"{path} has {dataset.width} x {dataset.height} pixels, more than the {max_pixels} that are read "
            "into memory at once; cut it into smaller files (gdal_translate -srcwin)"
        )
    if any(dtype.startswith("complex") for dtype in dataset.dtypes):
        raise ImageReadError(f"{path} has complex bands ({dataset.dtypes[0]}); convert them to amplitudes")
