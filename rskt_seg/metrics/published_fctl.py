"""The tables of the FCtL paper as printed, in percent: reference beside own results.

Every accuracy was measured with test-time augmentation over the eight mirrored and turned views; mIoU and F1
on DeepGlobe over six classes with the unknown pixels counted, on Inria for buildings alone (`PROTOCOL`).
tests/metrics/test_published_fctl.py lists the cells that contradict each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PROTOCOL: Mapping[str, str] = {
    "deepglobe_fctl_test_sem_seg": "DeepGlobe",
    "inria_test_sem_seg": "Inria Aerial",
}
"""Registered name -> data set of the tables, for the registrations whose scores compare with them."""

DEEPGLOBE_CLASSES = ("urban", "agriculture", "rangeland", "forest", "water", "barren")


@dataclass(frozen=True)
class Row:
    """One model on one data set; None where nothing is printed.

    `inference` on DeepGlobe: "local" (patches), "global" (whole images, made small) or "high-res" (methods
    for such images); on Inria "".
    """

    model: str
    backbone: str
    inference: str
    mIoU: float
    F1: float | None
    Acc: float | None


# Model, backbone, then mIoU, F1 and Acc of local and of global inference.
_GENERIC = """
    U-Net       | -        | 37.3 -    -    | 38.4 -    -
    ICNet       | ResNet50 | 35.5 -    -    | 40.2 -    -
    PSPNet      | ResNet50 | 53.3 -    -    | 56.6 -    -
    DeepLab v3+ | ResNet50 | 63.1 -    -    | 63.5 -    -
    GLNet*      | ResNet50 | 57.3 64.6 72.2 | 66.4 79.5 85.8
    SegNet      | VGG16    | 60.8 -    -    | 61.2 -    -
    FCN-8s      | VGG16    | 71.8 82.6 87.6 | 68.8 79.8 86.2
    Segformer   | MiT-B2   | 74.4 84.6 88.5 | 54.6 68.6 78.3
    Segformer   | MiT-B5   | 73.6 84.1 88.2 | 70.3 81.4 86.8
"""
_HIGH_RES = """
    CascadePSP | ResNet50 | 68.5 79.7 85.6
    GLNet      | ResNet50 | 71.6 83.2 88.0
    LCC        | VGG16    | 73.5 83.8 88.3
    Ours       | VGG16    | 73.9 84.1 88.5
    Ours       | MiT-B2   | 74.8 84.9 88.4
    Ours       | MiT-B5   | 73.7 84.2 88.4
"""
_INRIA = """
    ICNet       | ResNet50 | 31.1 -    -
    DeepLab v3+ | ResNet50 | 55.9 -    -
    CascadePSP  | ResNet50 | 69.4 81.8 93.2
    GLNet       | ResNet50 | 71.2 82.4 93.8
    FCN-8s      | VGG16    | 69.1 81.7 93.6
    LCC         | VGG16    | 73.7 84.1 94.6
    Segformer   | MiT-B2   | 76.4 86.6 95.2
    Segformer   | MiT-B5   | 77.9 87.5 95.5
    Ours        | VGG16    | 74.6 85.4 94.8
    Ours        | MiT-B2   | 77.4 87.3 95.4
    Ours        | MiT-B5   | 78.7 88.1 95.7
"""


def _rows(text: str, *inferences: str) -> tuple[Row, ...]:
    rows = []
    for line in text.strip().splitlines():
        model, backbone, *groups = (part.strip() for part in line.split("|"))
        for inference, group in zip(inferences, groups, strict=True):
            numbers = [None if word == "-" else float(word) for word in group.split()]
            rows.append(Row(model, backbone, inference, *numbers))
    return tuple(rows)


TABLE1 = (*_rows(_GENERIC, "local", "global"), *_rows(_HIGH_RES, "high-res"))
"""DeepGlobe test."""
TABLE2 = _rows(_INRIA, "")
"""Inria Aerial, the test part of the labelled images."""

TABLE3: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("FCN-8s", "VGG16"): (79.2, 87.5, 40.1, 77.7, 82.1, 64.4, 71.8),
    ("Ours", "VGG16"): (80.5, 88.4, 43.8, 79.2, 84.4, 67.3, 73.9),
    ("Segformer", "MiT-B2"): (80.2, 87.9, 47.1, 79.5, 84.8, 67.0, 74.4),
    ("Ours", "MiT-B2"): (79.9, 87.7, 48.2, 78.9, 85.0, 68.8, 74.8),
}
"""Model and backbone -> IoU of each of `DEEPGLOBE_CLASSES` and their mean."""

TABLE4: tuple[tuple[tuple[str, ...], bool, float, float], ...] = (
    ((), False, 71.84, 69.08),
    (("local",), False, 72.12, 72.50),
    (("medium",), False, 72.67, 72.48),
    (("large",), False, 72.67, 72.46),
    (("medium", "large"), False, 73.12, 73.18),
    (("local", "medium", "large"), False, 73.22, 73.53),
    ((), True, 73.33, 72.73),
    (("medium", "large"), True, 73.37, 73.00),
    (("local", "medium", "large"), True, 73.47, 73.50),
)
"""Contexts, gated positional embeddings -> mIoU on DeepGlobe and on Inria; without ALE. The seventh row has
embeddings and, in the text at hand, no mark of the context that they belong to."""

TABLE5: Mapping[str, tuple[tuple[int, int, int, float], ...]] = {
    "DeepGlobe": (
        (508, 1016, 2448, 73.23),
        (508, 1524, 2032, 72.76),
        (508, 1524, 2448, 73.47),
        (508, 2032, 2448, 73.05),
        (1016, 1524, 2448, 73.34),
    ),
    "Inria Aerial": (
        (508, 762, 1524, 73.05),
        (508, 1016, 1270, 73.13),
        (508, 1016, 1524, 73.50),
        (508, 1270, 1524, 73.31),
        (508, 1016, 2032, 73.24),
        (762, 1016, 1524, 73.20),
    ),
}
"""Sides (px) of the local, medium and large context, mIoU. 2448 is the whole image."""

TABLE6 = {"average": (72.89, 73.20), "weighted": (73.16, 73.37), "adaptive": (73.47, 73.50)}
"""Fusion of the contexts -> mIoU on DeepGlobe and on Inria."""

TABLE7: Mapping[tuple[str, tuple[str, ...]], tuple[float, float]] = {
    ("without", ()): (73.47, 73.50),
    ("concat", ("medium", "large")): (72.20, 72.80),
    ("only", ("medium", "large")): (72.69, 73.62),
    ("a", ("medium",)): (73.76, 74.22),
    ("a", ("large",)): (73.57, 74.19),
    ("b", ("medium",)): (73.78, 74.39),
    ("b", ("large",)): (73.68, 74.35),
    ("c", ("medium", "large")): (73.55, 74.32),
    ("d", ("medium", "large")): (73.91, 74.58),
    ("e", ("medium", "large")): (73.77, 74.56),
}
"""Structure of ALE and the contexts it reads -> mIoU on DeepGlobe and on Inria. "concat" stands in the place
of ALE; "only" is ALE without LCF; the others are LCF with structures of figure 13."""

EFFICIENCY = {"FCN-8s": (2477, 3, 9), "Ours": (3691, 6, 20)}
"""Model -> memory (MB) a patch, seconds an image of DeepGlobe and of Inria on a Titan Xp, without
augmentation."""


def published(name: str, model: str, backbone: str, inference: str) -> Row | None:
    """The row of tables 1 and 2 for the registered test set `name`; None where nothing compares.

    `inference` is "patches" or "whole".
    """
    if PROTOCOL.get(name) == "DeepGlobe":
        found = [row for row in TABLE1 if (row.inference == "global") == (inference == "whole")]
    else:
        found = [row for row in TABLE2 if name in PROTOCOL and inference == "patches"]
    return next((row for row in found if (row.model, row.backbone) == (model, backbone)), None)
