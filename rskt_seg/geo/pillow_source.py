"""Images that Pillow reads, with what side-cars of GDAL say about them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from rskt_seg.geo.alpha import alpha_notice
from rskt_seg.geo.georeference import Georeference, ignore_georeference_warnings
from rskt_seg.geo.masks import check_mask_file, has_masks, read_dataset_mask
from rskt_seg.geo.names import gdal_name

_GRAY_MODES = {"1", "L", "LA", "La"}


class PillowSource:
    """An image that Pillow has identified: gray (1 band) or RGB (3 bands), 8 bit, palettes expanded.

    Args:
        path: The file, beside which side-cars may lie.
        image: The image, not decoded yet.
        alpha: Whether alpha says which pixels are valid; else it is left out.
        gdal_facts: Whether rasterio is asked for georeference, nodata and masks.
    """

    def __init__(self, path: Path, image: Image.Image, alpha: bool, gdal_facts: bool) -> None:
        self.driver = image.format or ""
        self.dtype = "uint8"
        self.notices: list[str] = []
        if getattr(image, "is_animated", False) and image.format != "MPO":
            self.notices.append("animated image: the first frame is used")
        self.orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
        mode = "L" if image.mode in _GRAY_MODES else "RGB"
        self.count = len(mode)
        if image.has_transparency_data:
            mode += "A"
        channels = np.asarray(image if image.mode == mode else image.convert(mode))
        channels = channels.reshape(*channels.shape[:2], -1)
        self._values = channels[:, :, : self.count]
        self._mask: np.ndarray | None = None
        if mode.endswith("A") and alpha:
            self._mask = channels[:, :, self.count] > 0
            self.notices += alpha_notice(channels[:, :, self.count], self.count + 1)
        self._has_alpha = mode.endswith("A")
        self.height, self.width = channels.shape[:2]
        self.default_bands = tuple(range(1, self.count + 1))
        self.georeference: Georeference | None = None
        if gdal_facts:
            self._add_gdal_facts(path)

    def read(self, indexes: Sequence[int]) -> np.ndarray:
        """Return gray, or red, green and blue: (n, H, W) uint8, which may be read-only."""
        channels = np.moveaxis(self._values, 2, 0)
        return channels if tuple(indexes) == self.default_bands else channels[[i - 1 for i in indexes]]

    def read_mask(self, index: int) -> np.ndarray | None:
        """Return where alpha is not 0 and no side-car says otherwise: (H, W) bool, for every band."""
        return None if self._mask is None else self._mask.copy()

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
                self.notices.append(
                    f"side-cars of {path.name} (.aux.xml, .msk, world file) are not used: GDAL does not read "
                    f"{self.driver} here; convert it to PNG or GeoTIFF if they say where it has data"
                )
                return
            with dataset:
                self.georeference = Georeference.from_dataset(dataset)
                if dataset.shape != (self.height, self.width) or not has_masks(dataset):
                    return
                declared = read_dataset_mask(dataset)
        self._mask = declared if self._mask is None else self._mask & declared


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
