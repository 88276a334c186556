"""Converters from an official label file to class ids 0..K-1, with 255 ignored.

There is one function for each style of label; `CONVERTERS` says which dataset uses which style. A file that
is converted already is refused if one file shows it: colour converters and `reduce_zero_index` refuse gray
files, and `reduce_zero_label` refuses the 255 of ignored pixels in its own output.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rskt_seg.data.class_sets import (
    DEEPGLOBE,
    DEEPGLOBE_WITH_UNKNOWN,
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
    LabelFile,
    check_label,
    id_counts,
    pixel_counts,
    read_colors,
    read_label,
    refuse_unknown,
    remap_colors,
    threshold_colors,
)
from rskt_seg.errors import DatasetError, LabelError

logger = logging.getLogger(__name__)

_BLACK: RGB = (0, 0, 0)


@dataclass(frozen=True)
class Converted:
    """A converted label.

    Attributes:
        ids: (H, W) uint8, 0..K-1 or 255.
        unknown: The colours of no class, each with its pixel count; their pixels are 255.
    """

    ids: np.ndarray
    unknown: dict[RGB, int]


@dataclass(frozen=True)
class Converter:
    """A conversion of the official labels of a dataset to ids of its class set.

    Attributes:
        function: One of the conversions of this module, for the style of the label files.
        class_set: The classes whose ids it gives.
    """

    function: Callable[[LabelFile, ClassSet], Converted]
    class_set: ClassSet

    def __call__(self, file: LabelFile) -> Converted:
        """Convert one label file."""
        return self.function(file, self.class_set)


def reduce_zero_label(file: LabelFile, class_set: ClassSet) -> Converted:
    """Convert ids 0..K (gray or palette indices), where 0 is unlabelled: k + 1 becomes k, and 0 becomes 255.

    A file that is converted already and has no ignored pixel cannot be told from an official one.

    Args:
        file: A label file of official ids.
        class_set: The K classes.

    Returns:
        The ids (H, W) uint8.

    Raises:
        LabelError: The file cannot be read as ids, or holds an id above K.
    """
    raw = read_label(file)
    highest, above = len(class_set), int((raw > len(class_set)).sum())
    if above:
        raise LabelError(
            f"{file}: expected official ids 0..{highest} of {class_set.name}, found {above} pixels of "
            f"{highest + 1}..{raw.max()}; is the file converted already, or from another dataset?"
        )
    return Converted(np.where(raw == 0, IGNORE_LABEL, raw - 1).astype(np.uint8), {})


def reduce_zero_index(file: LabelFile, class_set: ClassSet) -> Converted:
    """Convert palette indices as `reduce_zero_label` converts ids; the colours of the palette are not used.

    Args:
        file: A palette file.
        class_set: The K classes.

    Returns:
        The ids (H, W) uint8.

    Raises:
        LabelError: As `reduce_zero_label`, and a gray file: ids that were converted already are gray.
    """
    if _image_mode(file) == "L":
        raise LabelError(
            f"{file}: expected a palette file of {class_set.name}, found gray; was the file converted "
            "already, or did a conversion to gray destroy its indices? Use the official file"
        )
    return reduce_zero_label(file, class_set)


def keep_ids(file: LabelFile, class_set: ClassSet) -> Converted:
    """Keep ids 0..K-1 or 255 (gray or palette indices) as they are, after a check.

    Args:
        file: A file of class ids.
        class_set: The K classes.

    Returns:
        The ids (H, W) uint8.

    Raises:
        LabelError: As `read_label` and `check_label`.
    """
    ids = read_label(file)
    check_label(ids, len(class_set), IGNORE_LABEL, file, class_names=class_set.names)
    return Converted(ids.astype(np.uint8), {})


def keep_ids_or_map_colors(file: LabelFile, class_set: ClassSet) -> Converted:
    """Convert an RGB or RGBA file as `map_colors`, and any other as `keep_ids`.

    Args:
        file: A file of class ids, or of class colours.
        class_set: The K classes.

    Returns:
        The ids (H, W) uint8, and the colours of no class.

    Raises:
        LabelError: As `keep_ids` or `read_colors`.
    """
    is_color = _image_mode(file) in ("RGB", "RGBA")
    return map_colors(file, class_set) if is_color else keep_ids(file, class_set)


def map_colors(file: LabelFile, class_set: ClassSet) -> Converted:
    """Map the colours of `class_set` to its ids; black is unknown unless it is the colour of a class.

    Args:
        file: A mask of class colours.
        class_set: The K classes.

    Returns:
        The ids (H, W) uint8, and the colours of no class.

    Raises:
        LabelError: As `read_colors`.
    """
    return _map_colors(read_colors(file), class_set)


def map_colors_ignoring_black(file: LabelFile, class_set: ClassSet) -> Converted:
    """Map the colours of `class_set` to its ids, and black, which means unlabelled, to 255.

    Args:
        file: A mask of class colours.
        class_set: The K classes.

    Returns:
        The ids (H, W) uint8, and the colours of no class.

    Raises:
        LabelError: As `read_colors`.
    """
    return _map_colors(read_colors(file), class_set, ignore_colors=(_BLACK,))


def map_thresholded_colors(file: LabelFile, class_set: ClassSet) -> Converted:
    """Convert as `map_colors`, after a threshold of each channel (`labels.threshold_colors`).

    Args:
        file: A mask of class colours.
        class_set: The K classes.

    Returns:
        The ids (H, W) uint8, and the colours of no class.

    Raises:
        LabelError: As `read_colors`.
    """
    return _map_colors(threshold_colors(read_colors(file)), class_set)


def map_thresholded_colors_ignoring_black(file: LabelFile, class_set: ClassSet) -> Converted:
    """Convert as `map_colors_ignoring_black`, after a threshold of each channel.

    Args:
        file: A mask of class colours.
        class_set: The K classes.

    Returns:
        The ids (H, W) uint8, and the colours of no class.

    Raises:
        LabelError: As `read_colors`.
    """
    return _map_colors(threshold_colors(read_colors(file)), class_set, ignore_colors=(_BLACK,))


def binarize(file: LabelFile, class_set: ClassSet) -> Converted:
    """Convert a mask of 0 and 255 (gray or palette indices) to 0 and 1.

    Args:
        file: A mask of two classes.
        class_set: The K classes.

    Returns:
        The ids (H, W) uint8.

    Raises:
        LabelError: Any other value; thus also for a file of 0 and 1, which is converted already.
    """
    raw = read_label(file)
    if counts := {k: count for k, count in id_counts(raw).items() if k not in (0, 255)}:
        converted = "; is the file converted already?" if counts.keys() == {1} else ""
        raise LabelError(
            f"{file}: a mask of {class_set.name} must hold 0 ({class_set.names[0]}) and 255 "
            f"({class_set.names[1]}) alone; found {pixel_counts(counts)}{converted}"
        )
    return Converted((raw == 255).astype(np.uint8), {})


CONVERTERS: dict[str, Converter] = {
    "dlrsd": Converter(reduce_zero_index, DLRSD),
    "isaid": Converter(map_colors_ignoring_black, ISAID),
    "loveda": Converter(reduce_zero_label, LOVEDA),
    "isprs": Converter(map_colors_ignoring_black, ISPRS),
    "uavid": Converter(map_colors, UAVID),
    "udd5": Converter(keep_ids_or_map_colors, UDD5),
    "vdd": Converter(keep_ids, VDD),
    "deepglobe": Converter(map_thresholded_colors_ignoring_black, DEEPGLOBE),
    "deepglobe_fctl": Converter(map_thresholded_colors, DEEPGLOBE_WITH_UNKNOWN),
    "inria": Converter(binarize, INRIA),
    "potsdam_mmseg": Converter(reduce_zero_label, ISPRS),
    "loveda_8c": Converter(keep_ids, LOVEDA_8C),
    "isaid_background": Converter(map_colors, ISAID_16),
    "dlrsd_ids": Converter(keep_ids, DLRSD),
    "isaid_ids": Converter(keep_ids, ISAID),
    "isprs_ids": Converter(keep_ids, ISPRS),
    "uavid_ids": Converter(keep_ids, UAVID),
    "udd5_ids": Converter(keep_ids, UDD5),
    "inria_ids": Converter(keep_ids, INRIA),
}
"""The converter of the official files of each dataset, and of other forms of them:

* `potsdam_mmseg`: id masks written by mmsegmentation;
* `loveda_8c`: official LoveDA files, nodata being class 0;
* `isaid_background`: black is class 0;
* `deepglobe_fctl`: unknown is class 0;
* `..._ids`: files that hold the ids of the table already.
"""


def find_converter(name: str) -> Converter:
    """Return the converter called `name`.

    Args:
        name: A key of `CONVERTERS`.

    Returns:
        The conversion of stored labels to class ids.

    Raises:
        DatasetError: An unknown name; the message lists the known ones.
    """
    if name not in CONVERTERS:
        raise DatasetError(f"unknown label converter {name!r}; known: {', '.join(CONVERTERS)}")
    return CONVERTERS[name]


def convert_label(name: str, path: str | Path, tolerance: float = 0.0) -> np.ndarray:
    """Convert a label file.

    Args:
        name: A key of `CONVERTERS`.
        path: The official label file.
        tolerance: Share (0..1) of pixels that may have colours of no class; they become 255, with a warning.

    Returns:
        The ids (H, W) uint8.

    Raises:
        LabelError: The file is not what the converter expects, or more pixels have colours of no class.
        DatasetError: An unknown `name`.
    """
    converted = find_converter(name)(path)
    refuse_unknown(converted.unknown, converted.ids.size, tolerance, path)
    if converted.unknown:
        logger.warning("%s: colours of no class became %d: %s", path, IGNORE_LABEL, converted.unknown)
    return converted.ids


def _map_colors(rgb: np.ndarray, class_set: ClassSet, ignore_colors: Iterable[RGB] = ()) -> Converted:
    table = {color: k for k, color in enumerate(class_set.colors)}
    return Converted(*remap_colors(rgb, table, ignore_colors))


def _image_mode(file: LabelFile) -> str | None:
    """Return Pillow's mode from the header of a file; None if it is unreadable, which the readers report."""
    try:
        with Image.open(file) as image:
            return image.mode
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        return None
