"""Resizing of a part of an image: Pillow's numbers, without the rest of the image."""

from math import gcd
from typing import NamedTuple

import numpy as np
from PIL import Image

from rskt_seg.windows import Window


class _Span(NamedTuple):
    """A part of one side of an image that is resized.

    Attributes:
        source: The pixels that the part depends on.
        box: What becomes the `size` pixels, as places within `source`.
        size: Number of pixels that are computed.
        wanted: Those of them that are the part.
    """

    source: slice
    box: tuple[int, int]
    size: int
    wanted: slice


def resize_window(image: np.ndarray, size: tuple[int, int], window: Window) -> np.ndarray:
    """Return a window of an image that is resized bicubically by Pillow, without computing the rest.

    Args:
        image: (H, W, 3) uint8.
        size: Height and width of the whole result; the sides change by about the same factor.
        window: The part of it that is wanted.

    Returns:
        (window.height, window.width, 3) uint8, the same bytes as of a window of the whole result.
    """
    height, width = image.shape[:2]
    if size[0] < height > width:
        # Pillow resizes rows, then columns, but where high images shrink it may do so the other way round.
        whole = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC)
        return np.asarray(whole)[window.slices]
    rows = _span(height, size[0], window.rows)
    columns = _span(width, size[1], window.columns)
    part = Image.fromarray(np.ascontiguousarray(image[rows.source, columns.source]))
    sideways = (columns.box[0], 0, columns.box[1], part.height)
    part = part.resize((columns.size, part.height), Image.Resampling.BICUBIC, sideways)
    upright = (0, rows.box[0], columns.size, rows.box[1])
    part = part.resize((columns.size, rows.size), Image.Resampling.BICUBIC, upright)
    return np.asarray(part)[rows.wanted, columns.wanted]


def _span(side: int, new_side: int, wanted: slice) -> _Span:
    # Pillow's boxes are in single precision, so that only those that begin and end at pixels are exact.
    step = gcd(side, new_side)
    pixels, new_pixels = side // step, new_side // step
    first, last = wanted.start // new_pixels, -(-wanted.stop // new_pixels)
    reach = 2 * max(1, -(-side // new_side)) + 1  # of the bicubic filter
    source = slice(max(0, first * pixels - reach), min(side, last * pixels + reach))
    box = (first * pixels - source.start, last * pixels - source.start)
    start = wanted.start - first * new_pixels
    size = (last - first) * new_pixels
    return _Span(source, box, size, slice(start, start + wanted.stop - wanted.start))
