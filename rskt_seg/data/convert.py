"""Converters: one official label file -> class ids 0..K-1 with 255 ignored.

One function for each style of label; `CONVERTERS` says which dataset uses which style. Running a
converter on its own output is refused where that can be seen from one file: colour converters and
`lowered_indices` refuse gray files, and `lowered_ids` refuses the 255 that its output holds where
pixels are ignored.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from rskt_seg.data.class_sets import (
    DEEPGLOBE,
    DEEPGLOBE_FCTL,
    DLRSD,
    IGNORE_LABEL,
    INRIA,
    ISAID,
    ISAID_16,
    ISPRS,
    LOVEDA,
    LOVEDA_8C,
    RGB,
    UAVID,
    UDD5,
    VDD,
    ClassSet,
)
from rskt_seg.data.labels import (
    check_label,
    pixel_counts,
    read_colors,
    read_label,
    refuse_unknown,
    remap_colors,
    threshold_colors,
)
from rskt_seg.errors import DatasetError, LabelError

logger = logging.getLogger(__name__)

LabelFile = str | Path | BinaryIO
"""The path of a label file, or the open file, whose `str()` then is the name that errors give."""
_BLACK: RGB = (0, 0, 0)


@dataclass(frozen=True)
class Converted:
    """`ids` (H, W) uint8 of 0..K-1 or 255, and the colours of no class with their pixel counts."""

    ids: np.ndarray
    unknown: dict[RGB, int]


@dataclass(frozen=True)
class Converter:
    """How the official labels of a dataset become ids of `class_set`."""

    function: Callable[[LabelFile, ClassSet], Converted]
    class_set: ClassSet

    def __call__(self, file: LabelFile) -> Converted:
        return self.function(file, self.class_set)


def lowered_ids(file: LabelFile, class_set: ClassSet) -> Converted:
    """Ids 0..K, 0 for unlabelled and k + 1 for class k (gray or palette indices) -> 0..K-1, 0 -> 255.

    Raises `LabelError` when the file cannot be read as ids or holds an id above K. A file that is
    converted already and has no ignored pixel cannot be told from an official one.
    """
    raw = read_label(file)
    highest, above = len(class_set), int((raw > len(class_set)).sum())
    if above:
        raise LabelError(
            f"{file}: official ids 0..{highest} of {class_set.name} were expected, found {above} pixels of "
            f"{highest + 1}..{raw.max()}; is the file converted already, or from another dataset?"
        )
    return Converted(np.where(raw == 0, IGNORE_LABEL, raw - 1).astype(np.uint8), {})


def lowered_indices(file: LabelFile, class_set: ClassSet) -> Converted:
    """As `lowered_ids`, for official files with a palette; the indices count, never the colours.

    Raises `LabelError` for a gray file too: ids that were converted already are gray.
    """
    mode = _mode(file)
    if mode == "L":
        raise LabelError(
            f"{file}: a palette file of {class_set.name} was expected, found gray; is the file converted "
            "already, or did a conversion to gray destroy its indices? Take the official file"
        )
    return lowered_ids(file, class_set)


def same_ids(file: LabelFile, class_set: ClassSet) -> Converted:
    """Ids 0..K-1 or 255 (gray or palette indices) as they are, after a check.

    Raises `LabelError` as `labels.read_label` and `labels.check_label`.
    """
    ids = read_label(file)
    check_label(ids, len(class_set), IGNORE_LABEL, file, class_names=class_set.names)
    return Converted(ids.astype(np.uint8), {})


def ids_or_colors(file: LabelFile, class_set: ClassSet) -> Converted:
    """Ids as `same_ids`; or, from a file without palette and in colour, colours as `colors_only`."""
    is_color = _mode(file) in ("RGB", "RGBA")
    return colors_only(file, class_set) if is_color else same_ids(file, class_set)


def colors_only(file: LabelFile, class_set: ClassSet) -> Converted:
    """Colours of `class_set` -> its ids, where black is a class like every other; others unknown."""
    return _from_colors(read_colors(file), class_set, ())


def exact_colors(file: LabelFile, class_set: ClassSet) -> Converted:
    """Colours of `class_set` -> its ids; black, which stands for unlabelled -> 255; others unknown."""
    return _from_colors(read_colors(file), class_set, (_BLACK,))


def thresholded_colors(file: LabelFile, class_set: ClassSet) -> Converted:
    """As `exact_colors`, after a threshold of each channel (see `labels.threshold_colors`)."""
    return _from_colors(threshold_colors(read_colors(file)), class_set, (_BLACK,))


def thresholded_classes(file: LabelFile, class_set: ClassSet) -> Converted:
    """As `colors_only`, black being a class, after a threshold of each channel."""
    return _from_colors(threshold_colors(read_colors(file)), class_set, ())


def binary(file: LabelFile, class_set: ClassSet) -> Converted:
    """0 and 255 (gray or palette indices) -> 0 and 1.

    Raises `LabelError` for any other value, and so for a file of 0 and 1, which is converted already.
    """
    raw = read_label(file)
    other = raw[(raw != 0) & (raw != 255)]
    if other.size:
        counts = dict(zip(*(part.tolist() for part in np.unique(other, return_counts=True)), strict=True))
        converted = "; is the file converted already?" if counts.keys() == {1} else ""
        raise LabelError(
            f"{file}: a mask of {class_set.name} holds 0 ({class_set.names[0]}) and 255 "
            f"({class_set.names[1]}) alone; found {pixel_counts(counts)}{converted}"
        )
    return Converted((raw == 255).astype(np.uint8), {})


CONVERTERS: dict[str, Converter] = {
    "dlrsd": Converter(lowered_indices, DLRSD),
    "isaid": Converter(exact_colors, ISAID),
    "loveda": Converter(lowered_ids, LOVEDA),
    "isprs": Converter(exact_colors, ISPRS),
    "uavid": Converter(colors_only, UAVID),
    "udd5": Converter(ids_or_colors, UDD5),
    "vdd": Converter(same_ids, VDD),
    "deepglobe": Converter(thresholded_colors, DEEPGLOBE),
    "deepglobe_fctl": Converter(thresholded_classes, DEEPGLOBE_FCTL),
    "inria": Converter(binary, INRIA),
    "potsdam_mmseg": Converter(lowered_ids, ISPRS),
    "loveda_8c": Converter(same_ids, LOVEDA_8C),
    "isaid_background": Converter(colors_only, ISAID_16),
    "dlrsd_ids": Converter(same_ids, DLRSD),
    "isaid_ids": Converter(same_ids, ISAID),
    "isprs_ids": Converter(same_ids, ISPRS),
    "uavid_ids": Converter(same_ids, UAVID),
    "udd5_ids": Converter(same_ids, UDD5),
    "inria_ids": Converter(same_ids, INRIA),
}
"""The official files of each dataset; `potsdam_mmseg`: id masks written by mmsegmentation; `loveda_8c`:
official LoveDA files with no-data as class 0; `isaid_background`: black as class 0; `deepglobe_fctl`: unknown
as class 0; `..._ids`: files that hold the ids of the table already."""


def find_converter(name: str) -> Converter:
    """The converter called `name`. Raises `DatasetError` with the known names when there is none."""
    if name not in CONVERTERS:
        raise DatasetError(f"unknown label converter {name!r}; known: {', '.join(CONVERTERS)}")
    return CONVERTERS[name]


def convert_label(name: str, path: str | Path, tolerance: float = 0.0) -> np.ndarray:
    """Ids (H, W) uint8 of the label file at `path` by the converter called `name`.

    Up to a share `tolerance` (0..1) of pixels may have colours of no class; they become 255 and are
    reported as a warning, more raise `LabelError`. Raises `DatasetError` for an unknown `name`.
    """
    converted = find_converter(name)(path)
    refuse_unknown(converted.unknown, converted.ids.size, tolerance, path)
    if converted.unknown:
        logger.warning("%s: colours of no class became %d: %s", path, IGNORE_LABEL, converted.unknown)
    return converted.ids


def _from_colors(rgb: np.ndarray, class_set: ClassSet, ignored: Iterable[RGB]) -> Converted:
    table = {color: k for k, color in enumerate(class_set.colors)}
    return Converted(*remap_colors(rgb, table, ignore_colors=ignored))


def _mode(file: LabelFile) -> str | None:
    """Pillow's mode of an image file, by its header; None where the readers will say what is wrong."""
    try:
        with Image.open(file) as image:
            return image.mode
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        return None
