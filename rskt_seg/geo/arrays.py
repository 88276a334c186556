"""Images in memory or in files, as `Segmenter` takes them."""

import os

import numpy as np

from rskt_seg.errors import ImageReadError
from rskt_seg.geo.raster import ONE_BAND, RasterImage, read_image

ImageSource = str | os.PathLike[str] | np.ndarray | RasterImage
"""An image file, an (H, W, 3) or (H, W) uint8 array, or the result of `rskt_seg.geo.read_image`."""


def as_image(source: ImageSource) -> RasterImage:
    """Return an image with the mask of its valid pixels.

    Args:
        source: A file, which is read by `read_image`; an array, whose pixels are valid unless it is a masked
            array in which all bands are masked; or an image.

    Returns:
        The image.

    Raises:
        ImageReadError: The file cannot be read, or the array is no 8-bit image.
    """
    if isinstance(source, RasterImage):
        return source
    if isinstance(source, str | os.PathLike):
        return read_image(source)
    if not isinstance(source, np.ndarray):
        raise ImageReadError(
            f"an image must be a path or a numpy array (H, W, 3) uint8; found {type(source).__name__}"
        )
    _check_array(source)
    # As in files, data in any band is enough.
    masked = np.ma.getmaskarray(source).reshape(*source.shape[:2], -1)
    valid = np.asarray(~masked.all(axis=2))
    pixels = np.ma.getdata(source)
    notices: tuple[str, ...] = ()
    if pixels.ndim == 2:
        pixels, notices = np.repeat(pixels[:, :, None], 3, axis=2), (ONE_BAND,)
    return RasterImage(pixels, valid, notices=notices)


def _check_array(array: np.ndarray) -> None:
    found = f"found {array.shape} {array.dtype}"
    if 0 in array.shape or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        hint = ""
        if array.ndim == 3 and array.shape[0] == 3:
            hint = "; channels come last: pass array.transpose(1, 2, 0)"
        elif array.ndim == 3 and array.shape[2] == 4:
            hint = "; pass array[:, :, :3], or a file whose alpha says which pixels are valid"
        raise ImageReadError(f"an image array must be (H, W, 3) or (H, W); {found}{hint}")
    if array.dtype == np.uint8:
        return
    hint = "scale it to 0..255 and convert it with .astype(numpy.uint8), or save it and pass the file"
    if array.dtype.kind == "f":
        hint = "values of 0..1 become (array * 255).round().astype(numpy.uint8)"
    raise ImageReadError(f"an image array must be uint8, RGB in 0..255; {found}; {hint}")


def name_of(source: ImageSource) -> str:
    """Return the name of an image in messages: that of its file, or its size."""
    if isinstance(source, str | os.PathLike):
        return str(source)
    height, width = (source.pixels if isinstance(source, RasterImage) else source).shape[:2]
    return f"the image of {width} x {height} px"
