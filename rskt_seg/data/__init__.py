"""Datasets: their table, class sets and label files, datasets of users, and fingerprints.

Preparation of official downloads is in `rskt_seg.data.preparation`, that of what people have in
`rskt_seg.data.own_preparation`, checks of a dataset in `rskt_seg.data.checking`.
"""

from rskt_seg.data.catalog import (
    ROOT_VARIABLE,
    SPLITS,
    Split,
    expected_layout,
    find_files,
    find_split,
    images_of,
    pairs,
)
from rskt_seg.data.class_sets import IGNORE_LABEL, RGB, ClassSet
from rskt_seg.data.convert import CONVERTERS, Converted, Converter, convert_label, find_converter
from rskt_seg.data.fingerprint import Fingerprint, compute_fingerprint
from rskt_seg.data.image_labels import (
    ImageLabels,
    classes_of_pair,
    present_classes,
    read_image_labels,
    split_image_labels,
    write_image_labels,
)
from rskt_seg.data.labels import check_label, read_colors, read_label
from rskt_seg.data.own import read_own
from rskt_seg.data.pairing import Files, Pair

__all__ = [
    "CONVERTERS",
    "IGNORE_LABEL",
    "RGB",
    "ROOT_VARIABLE",
    "SPLITS",
    "ClassSet",
    "Converted",
    "Converter",
    "Files",
    "Fingerprint",
    "ImageLabels",
    "Pair",
    "Split",
    "check_label",
    "classes_of_pair",
    "compute_fingerprint",
    "convert_label",
    "expected_layout",
    "find_converter",
    "find_files",
    "find_split",
    "images_of",
    "pairs",
    "present_classes",
    "read_colors",
    "read_image_labels",
    "read_label",
    "read_own",
    "split_image_labels",
    "write_image_labels",
]
