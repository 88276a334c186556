"""Images that Pillow reads, with what side-cars of GDAL say about them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from rskt_seg.geo.alpha import AlphaCounts
from rskt_seg.geo.georeference import Georeference, ignore_georeference_warnings
from rskt_seg.geo.masks import check_mask_file, has_masks, read_dataset_mask
from rskt_seg.geo.names import gdal_name

PILLOW_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
"""Modes of Pillow with 8 bits or less a sample."""
_GRAY_MODES = {"1", "L", "LA", "La"}
_PIXELS = 2**18
"""Pixels that are converted at a time."""


class PillowSource:
    """An image that Pillow has identified: gray (1 band) or RGB (3 bands), 8 bit, palettes expanded.

    Args:
        path: The file, beside which side-cars may lie.
        image: The image, not decoded yet. Pillow decodes it as a whole, into 4 bytes a pixel of colours.
        alpha: Whether alpha says which pixels are valid; else it is left out.
        gdal_facts: Whether rasterio is asked for georeference, nodata and masks.
    """

    def __init__(self, path: Path, image: Image.Image, alpha: bool, gdal_facts: bool) -> None:
        self.driver = image.format or ""
        self.dtype = "uint8"
        self._opening: list[str] = []
        if getattr(image, "is_animated", False) and image.format != "MPO":
            self._opening.append("animated image: the first frame is used")
        self.orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
        mode = "L" if image.mode in _GRAY_MODES else "RGB"
        self.count = len(mode)
        if image.has_transparency_data:
            mode += "A"
        image.load()
        self._image, self._mode = image, mode
        self._has_alpha = mode.endswith("A")
        self._reads_alpha = self._has_alpha and alpha
        self._alpha = AlphaCounts(self.count + 1)
        self._declared: np.ndarray | None = None
        self.width, self.height = image.size
        self.rows = max(1, _PIXELS // self.width)
        self._converted: tuple[int, np.ndarray] | None = None
        self.default_bands = tuple(range(1, self.count + 1))
        self.georeference: Georeference | None = None
        if gdal_facts:
            self._add_gdal_facts(path)

    @property
    def notices(self) -> list[str]:
        """One line for every choice made while opening and reading."""
        return [*self._opening, *self._alpha.notice()]

    def read(self, indexes: Sequence[int], rows: slice) -> np.ndarray:
        """Return gray, or red, green and blue: (n, rows, W) uint8, which may be read-only."""
        channels = np.moveaxis(self._channels(rows)[:, :, : self.count], 2, 0)
        return channels if tuple(indexes) == self.default_bands else channels[[i - 1 for i in indexes]]

    def read_mask(self, index: int, rows: slice) -> np.ndarray | None:
        """Return where alpha is not 0 and no side-car says otherwise: (rows, W) bool, for every band."""
        mask = None if self._declared is None else self._declared[rows].copy()
        if self._reads_alpha:
            alpha = self._channels(rows)[:, :, self.count]
            if index == self.default_bands[0]:
                self._alpha.add(alpha)
            mask = alpha > 0 if mask is None else mask & (alpha > 0)
        return mask

    def _channels(self, rows: slice) -> np.ndarray:
        """Return gray or RGB and, if there is one, alpha: (rows, W, channels) uint8."""
        if self._converted is None or self._converted[0] != rows.start:
            part, box = self._image, (0, rows.start, self.width, rows.stop)
            if box != (0, 0, self.width, self.height):
                part = part.crop(box)
            channels = np.asarray(part if part.mode == self._mode else part.convert(self._mode))
            self._converted = rows.start, channels.reshape(*channels.shape[:2], -1)
        return self._converted[1]

    def describe_missing_band(self, index: int) -> str:
        """Return the reason why band `index` cannot be read."""
        if self._has_alpha and index == self.count + 1:
            return f"band {index} is alpha, which is never classified"
        return f"no band {index}"

    def _add_gdal_facts(self, path: Path) -> None:
        """Take georeference, nodata and masks from the side-cars or the appended mask of the file."""
        import rasterio
        from rasterio.errors import RasterioError

        check_mask_file(path, (self.height, self.width))
        with ignore_georeference_warnings():
            try:
                dataset = rasterio.open(gdal_name(path))
            except RasterioError:
                self._opening.append(
                    f"side-cars of {path.name} (.aux.xml, .msk, world file) are not used: GDAL does not read "
                    f"{self.driver} here; convert it to PNG or GeoTIFF if they say where it has data"
                )
                return
            with dataset:
                self.georeference = Georeference.from_dataset(dataset)
                if dataset.shape != (self.height, self.width) or not has_masks(dataset):
                    return
                self._declared = read_dataset_mask(dataset)


def has_gdal_facts(path: Path, content: bytes) -> bool:
    """Return whether GDAL knows more of a photograph than Pillow: by a side-car, or a mask behind a JPEG.

    Args:
        path: The file; names of world files are looked for in the case of its extension.
        content: The bytes of a JPEG file; others are not looked at.

    Returns:
        True if rasterio should be asked.
    """
    name = str(path)
    stem, suffix = os.path.splitext(name)
    world = [f"{suffix[:2]}{suffix[-1:]}w", f"{suffix}w", ".wld", ".tab"] if suffix else [".wld", ".tab"]
    if suffix.isupper():
        world = [ending.upper() for ending in world]
    if any(map(os.path.exists, (f"{name}.aux.xml", f"{name}.msk", *(stem + ending for ending in world)))):
        return True
    # GDAL appends a compressed mask behind the picture, and where the picture ends as the last four bytes.
    end = int.from_bytes(content[-4:], "little")
    return 2 <= end < len(content) - 4 and content[end - 2 : end] == b"\xff\xd9"
