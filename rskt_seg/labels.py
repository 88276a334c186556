"""Conventions for label maps: their dtype, and the id of pixels without a class."""

import numpy as np

MOST_CLASSES = 65_535
"""The most classes of a label map: ids are at most 16 bits, and the highest is a pixel without a class."""


def label_dtype(num_classes: int) -> type[np.unsignedinteger]:
    """Return the dtype of label maps: uint8 for up to 255 classes (255 stays free), else uint16."""
    return np.uint8 if num_classes <= 255 else np.uint16


def ignore_label(num_classes: int) -> int:
    """Return the id of a pixel without a class: 255, or 65535 for more than 255 classes."""
    return int(np.iinfo(label_dtype(num_classes)).max)
