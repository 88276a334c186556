"""Converters: one official label file -> class ids 0..K-1 with 255 ignored.

One function for each style of label; `CONVERTERS` says which dataset uses which style. Running a
converter on its own output is refused where that can be seen from one file: a colour converter
refuses gray files, and `lowered_ids` refuses the 255 that its output holds where pixels are ignored.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rskt_seg.data.catalog import DEEPGLOBE, IGNORE_LABEL, ISAID, ISPRS, LOVEDA, RGB, ClassSet
from rskt_seg.data.labels import read_colors, read_label, refuse_unknown, remap_colors, threshold_colors
from rskt_seg.errors import DatasetError, LabelError

logger = logging.getLogger(__name__)

_BLACK: RGB = (0, 0, 0)


@dataclass(frozen=True)
class Converted:
    """`ids` (H, W) uint8 of 0..K-1 or 255, and the colours of no class with their pixel counts."""

    ids: np.ndarray
    unknown: dict[RGB, int]


@dataclass(frozen=True)
class Converter:
    """How the official labels of a dataset become ids of `class_set`."""

    function: Callable[[str | Path, ClassSet], Converted]
    class_set: ClassSet


def lowered_ids(path: str | Path, class_set: ClassSet) -> Converted:
    """Ids 0..K, 0 for unlabelled and k + 1 for class k (gray or palette indices) -> 0..K-1, 0 -> 255.

    Raises `LabelError` when the file cannot be read as ids or holds an id above K. A file that is
    converted already and has no ignored pixel cannot be told from an official one.
    """
    raw = read_label(path)
    highest, above = len(class_set), int((raw > len(class_set)).sum())
    if above:
        raise LabelError(
            f"{path}: official ids 0..{highest} of {class_set.name} were expected, found {above} pixels of "
            f"{highest + 1}..{raw.max()}; is the file converted already, or from another dataset?"
        )
    return Converted(np.where(raw == 0, IGNORE_LABEL, raw - 1).astype(np.uint8), {})


def exact_colors(path: str | Path, class_set: ClassSet) -> Converted:
    """Colours of `class_set` -> its ids; black, which stands for unlabelled -> 255; others unknown."""
    return _from_colors(read_colors(path), class_set)


def thresholded_colors(path: str | Path, class_set: ClassSet) -> Converted:
    """As `exact_colors`, after a threshold of each channel (see `labels.threshold_colors`)."""
    return _from_colors(threshold_colors(read_colors(path)), class_set)


CONVERTERS: dict[str, Converter] = {
    "potsdam_mmseg": Converter(lowered_ids, ISPRS),
    "loveda": Converter(lowered_ids, LOVEDA),
    "isaid": Converter(exact_colors, ISAID),
    "deepglobe": Converter(thresholded_colors, DEEPGLOBE),
}
"""`potsdam_mmseg`: id masks written by mmsegmentation; the others: official files."""


def convert_label(name: str, path: str | Path, tolerance: float = 0.0) -> np.ndarray:
    """Ids (H, W) uint8 of the label file at `path` by the converter called `name`.

    Up to a share `tolerance` (0..1) of pixels may have colours of no class; they become 255 and are
    reported as a warning, more raise `LabelError`. Raises `DatasetError` for an unknown `name`.
    """
    if name not in CONVERTERS:
        raise DatasetError(f"unknown label converter {name!r}; known: {', '.join(CONVERTERS)}")
    converter = CONVERTERS[name]
    converted = converter.function(path, converter.class_set)
    refuse_unknown(converted.unknown, converted.ids.size, tolerance, path)
    if converted.unknown:
        logger.warning("%s: colours of no class became %d: %s", path, IGNORE_LABEL, converted.unknown)
    return converted.ids


def _from_colors(rgb: np.ndarray, class_set: ClassSet) -> Converted:
    table = {color: k for k, color in enumerate(class_set.colors)}
    return Converted(*remap_colors(rgb, table, ignore_colors=(_BLACK,)))
