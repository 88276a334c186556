"""Reading of images and labels for training, evaluation and ground truth: one notion of what is valid.

Prediction reads images through `rskt_seg.geo.read_image`, and so does everything here: declared band order,
photometric interpretation, nodata, masks, alpha, side-cars and checksums mean the same on every path.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rskt_seg.data.labels import check_label, without_nodata
from rskt_seg.errors import ImageReadError
from rskt_seg.geo import RasterImage, read_image

SCALE_COMMAND = "gdal_translate -ot Byte -scale LOW HIGH 0 255"
"""How to stretch a raster to 8 bits by limits."""


def read_8bit_image(path: str | Path) -> RasterImage:
    """Read an image of a dataset. It must have 8 bits a sample, because a dataset needs one stretch for all.

    Args:
        path: The image file.

    Returns:
        The image; if it is a TIFF, without its georeference.

    Raises:
        ImageReadError: As `read_image`, or the samples are not unsigned 8-bit integers.
    """
    image = read_image(path, georeference=False)
    if image.dtype != "uint8":
        raise ImageReadError(
            f"{path} has {image.dtype} samples; images of a dataset have 8 bits a sample, because each would "
            f"get a stretch of its own: stretch all by the same limits first ({SCALE_COMMAND} IN OUT)"
        )
    return image


def valid_target(
    ids: np.ndarray,
    path: str | Path,
    image_valid: np.ndarray,
    class_names: Sequence[str],
    ignore_label: int,
    where: str = "",
) -> np.ndarray:
    """Check a label and leave out what is not valid: its own nodata, and pixels where the image has no data.

    Args:
        ids: The label as `read_label` returned it, (H, W) uint8 or uint16.
        path: The file that it comes from.
        image_valid: (H, W) bool, the valid pixels of the image.
        class_names: K names in the order of ids.
        ignore_label: The id of pixels that are neither trained nor scored.
        where: Name of the label in messages; "" for its path.

    Returns:
        A new array (H, W) of the same dtype: 0..K-1, or `ignore_label`.

    Raises:
        LabelError: The label has other ids or another size than expected.
    """
    label = without_nodata(ids, path, ignore_label)
    check_label(label, len(class_names), ignore_label, where or path, image_valid.shape, class_names)
    if image_valid.all():
        return label.copy()
    return np.where(image_valid, label, label.dtype.type(ignore_label))
