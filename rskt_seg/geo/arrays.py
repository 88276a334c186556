"""Images in memory, in files or at URLs, as `Segmenter` takes them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Union

import numpy as np
from PIL import Image, ImageOps

from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.geo.array_source import ArraySource
from rskt_seg.geo.names import url_name
from rskt_seg.geo.pillow_source import PILLOW_MODES, PillowSource
from rskt_seg.geo.raster import ONE_BAND, RasterImage, check_bands, image_of, naming_damage, read_image
from rskt_seg.geo.stretch import Stretch, parse_stretch
from rskt_seg.reading import brief

if TYPE_CHECKING:
    from torch import Tensor

ImageSource = Union[str, os.PathLike[str], np.ndarray, Image.Image, "Tensor", RasterImage]
"""A file or URL, an array, an image of Pillow, a tensor, or the result of `rskt_seg.geo.read_image`."""


class Reading(TypedDict, total=False):
    """Arguments of `as_image` as keyword arguments of others."""

    bands: Sequence[int] | None
    stretch: str | tuple[float, float]
    nodata: float | None


_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Modes of Pillow with one band of more than 8 bits."""
_SMALL_TYPES = ("uint8", "int8", "uint16", "int16")
"""Types of arrays that are scaled as those of files are; of others the caller has to say how."""


def as_image(
    source: ImageSource,
    bands: Sequence[int] | None = None,
    stretch: str | tuple[float, float] = "auto",
    nodata: float | None = None,
) -> RasterImage:
    """Return an image with the mask of its valid pixels.

    Args:
        source: One of

            - a file, a name of GDAL's own, or a URL (`https://`, `http://` or `s3://`), which GDAL reads;
            - an (H, W, 3), (H, W) or (H, W, 1) array of 8 or 16 bits, or with `bands` of any number of bands.
              Its pixels are valid unless it is a masked array in which all used bands are masked;
            - an image of Pillow: EXIF orientation is applied, alpha says which pixels are valid, palettes are
              expanded;
            - a (3, H, W) or (1, H, W) tensor of torch, or with `bands` of any number of bands, as arrays, or
              floating point in 0..1;
            - an image that was read already.
        bands: As for `read_image`.
        stretch: As for `read_image`; arrays of other types, and tensors that are not in 0..1, need another
            one than "auto".
        nodata: As for `read_image`.

    Returns:
        The image, whose pixels are those of an 8-bit array themselves, not a copy.

    Raises:
        ImageReadError: The file cannot be read, or this is no image.
        ConfigError: `bands` or `stretch` is invalid, or given for an image that was read already.
    """
    rule, chosen = parse_stretch(stretch), check_bands(bands)
    if isinstance(source, RasterImage):
        if chosen or nodata is not None or rule.kind != "auto":
            raise ConfigError(
                "bands, stretch and nodata are for what is still to be read, and this image is 8-bit RGB "
                "already; give them to read_image"
            )
        return source
    if isinstance(source, str | os.PathLike):
        return _read(source, bands, stretch, nodata)
    if isinstance(source, Image.Image):
        return _of_pillow(source, rule, chosen, nodata)
    if isinstance(source, np.ndarray):
        return _of_array(source, rule, chosen, nodata)
    from torch import Tensor  # what reads files alone does without it

    if isinstance(source, Tensor):
        return _of_array(_tensor_array(source, rule, chosen), rule, chosen, nodata)
    raise ImageReadError(
        "an image must be a path, a URL, a numpy array (H, W, 3), an image of Pillow or a tensor (3, H, W), "
        f"several a list or tuple of them; found {type(source).__name__} {' '.join(brief(source).split())}"
    )


def name_of(image: RasterImage) -> str:
    """Return the name of an image in messages: that of its file, or its size."""
    height, width = image.valid.shape
    return image.source or f"the image of {width} x {height} px"


def _read(
    source: str | os.PathLike[str],
    bands: Sequence[int] | None,
    stretch: str | tuple[float, float],
    nodata: float | None,
) -> RasterImage:
    name = url_name(source)
    if name == os.fspath(source):
        return read_image(source, bands, stretch, nodata=nodata)
    shown = os.fspath(source).partition("?")[0]  # what follows may be a secret
    try:
        return replace(read_image(name, bands, stretch, nodata=nodata), source=shown)
    except ImageReadError as error:
        raise ImageReadError(
            f"cannot read {shown}: {error.__cause__ or error}; check the address and the network, or "
            "download the file and give its path"
        ) from error


def _of_pillow(
    image: Image.Image, rule: Stretch, bands: tuple[int, ...] | None, nodata: float | None
) -> RasterImage:
    width, height = image.size
    name = f"the image of {width} x {height} px"
    with naming_damage(name):
        if image.mode not in (*PILLOW_MODES, *_DEEP_MODES):
            raise ImageReadError(f"{name} is in Pillow's mode {image.mode}; pass image.convert('RGB')")
        if image.mode in _DEEP_MODES:
            return _of_array(np.asarray(ImageOps.exif_transpose(image)), rule, bands, nodata)
        source = PillowSource(Path(), image, alpha=True, gdal_facts=False)
        found, _ = image_of(name, source, bands or source.default_bands, rule, nodata)
    return replace(found, source="")


def _of_array(
    array: np.ndarray, rule: Stretch, bands: tuple[int, ...] | None, nodata: float | None
) -> RasterImage:
    _check_array(array, rule, bands)
    pixels = np.ma.getdata(array)
    if array.dtype != np.uint8 or bands or nodata is not None or not rule.keeps(array.dtype):
        name = f"the array {array.shape}"
        source = ArraySource(pixels, np.ma.getmaskarray(array) if np.ma.is_masked(array) else None)
        found, _ = image_of(name, source, bands or source.default_bands, rule, nodata)
        return replace(found, source="")
    # As in files, data in any band is enough.
    masked = np.ma.getmaskarray(array).reshape(*array.shape[:2], -1)
    valid = np.asarray(~masked.all(axis=2))
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        grey = pixels.reshape(*pixels.shape[:2], 1)
        return RasterImage(np.repeat(grey, 3, axis=2), valid, notices=(ONE_BAND,))
    return RasterImage(pixels, valid)


def _check_array(array: np.ndarray, rule: Stretch, bands: tuple[int, ...] | None) -> None:
    found = f"found {array.shape} {array.dtype}"
    channels = array.shape[2] if array.ndim == 3 else 1
    known = channels in (1, 3) or (bands and not array.shape[0] <= 4 < channels)
    if 0 in array.shape or array.ndim not in (2, 3) or not known:
        hint = "; say by bands= which are red, green and blue" if array.ndim == 3 else ""
        if array.ndim == 3 and array.shape[0] <= 4 < channels:
            hint = "; channels come last: pass array.transpose(1, 2, 0)"
        elif channels == 4 and array.dtype == np.uint8:
            hint = "; pass array[:, :, :3], or an image of Pillow, whose alpha says which pixels are valid"
        elif array.ndim == 4:
            hint = "; pass its images as a list: list(array)"
        raise ImageReadError(f"an image array must be (H, W, 3) or (H, W); {found}{hint}")
    if array.dtype.name in _SMALL_TYPES or (array.dtype.kind in "uif" and rule.kind != "auto"):
        return
    hint = "convert it with .astype(numpy.uint8)"
    if array.dtype.kind == "f":
        hint = "values of 0..1 become (array * 255).round().astype(numpy.uint8)"
    raise ImageReadError(
        f"an image array must be uint8, int8, uint16 or int16; {found}; {hint}, or say by stretch= which "
        "values become 0 and 255"
    )


def _tensor_array(tensor: "Tensor", rule: Stretch, bands: tuple[int, ...] | None) -> np.ndarray:
    """Return a tensor (C, H, W) as an array (H, W, C), floating point in 0..1 as 8 bits."""
    import torch

    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    found = f"found {shape} {dtype}"
    if 0 in shape or len(shape) != 3 or (shape[0] not in (1, 3) and not bands):
        hint = "; say by bands= which are red, green and blue" if len(shape) == 3 else ""
        if len(shape) == 3 and shape[2] in (1, 3):
            hint = "; channels come first: pass tensor.permute(2, 0, 1)"
        elif len(shape) == 4:
            hint = "; pass its images as a list: list(tensor)"
        raise ImageReadError(f"an image tensor must be (3, H, W) or (1, H, W); {found}{hint}")
    values = tensor.detach().cpu()
    if tensor.is_floating_point():
        values = values.float()
        if rule.kind == "auto":
            if not bool(((values >= 0) & (values <= 1)).all()):  # NaN is neither
                raise ImageReadError(
                    f"an image tensor of floating point must lie in 0..1; {found} in {values.min():g}.."
                    f"{values.max():g}; divide it, or say by stretch= which values become 0 and 255"
                )
            values = (values * 255).round().to(torch.uint8)
    elif dtype not in _SMALL_TYPES and (rule.kind == "auto" or tensor.is_complex() or dtype == "bool"):
        raise ImageReadError(
            f"an image tensor must be uint8 or 16-bit integers, or floating point in 0..1; {found}; convert "
            "it with .to(torch.uint8)"
        )
    return np.moveaxis(values.numpy(), 0, 2)
