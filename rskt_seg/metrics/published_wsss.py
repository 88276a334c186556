"""The tables of the weakly supervised paper as printed, in percent: reference beside own results.

The paper scores segmentations with several scales and a dense CRF; its tiles of iSAID are random crops whose
places are not published. Tables 1 and 3 do not say which part of iSAID they are of, tables 5 and 6 are of its
"validation set", and all four print one figure for the whole method. Cells that contradict each other are
listed in tests/metrics/test_published_wsss.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PROTOCOL: Mapping[str, str] = {
    "iSAID_wsss_val_sem_seg": "iSAID",
    "iSAID_wsss_test_sem_seg": "iSAID",
    "Potsdam_wsss_test_sem_seg": "Potsdam",
}
"""Registered name -> data set of the tables, for the registrations whose scores compare with them."""

ISAID_CLASSES = (
    "background", "ground track field", "soccer ball field", "small vehicle", "ship", "bridge",
    "basketball court", "baseball diamond", "roundabout", "plane", "tennis court", "large vehicle",
    "storage tank", "harbor", "swimming pool", "helicopter",
)  # fmt: skip
"""In the order of table 1, which abbreviates them."""
POTSDAM_CLASSES = (
    "Impervious surfaces", "Building", "Low vegetation", "Tree", "Car", "Clutter/background",
)  # fmt: skip
"""In the order of table 2, which has shorter words for some."""

MODULES = ("TPE", "USR", "VPE")
"""What table 3 leaves out: prototypes of texts, refinement by relations, visual prototypes."""
CLUSTERS, ALPHA = 8, 3
"""Clusters of texts (B) and steps of diffusion (alpha) in tables 1 to 3."""


@dataclass(frozen=True)
class Row:
    """One method in the table of that number: IoU of the `classes`, their mean, and on Potsdam OA and F1.

    None, or no classes, where nothing is printed.
    """

    table: int
    method: str
    venue: str
    classes: Mapping[str, float]
    mIoU: float
    OA: float | None = None
    F1: float | None = None


# Method and venue -> the classes, then mIoU and for Potsdam also OA and F1.
_ISAID = {
    ("S2EPC", "TGRS 2022"): """86.11 38.30 44.10 11.48 17.10  9.71 53.30 36.60
        34.59 27.10 56.74 30.20 49.10 11.59 19.6  15.86 36.79""",
    ("CISM", "RS 2023"): """83.10 33.50 44.60 11.80 19.50  8.40 48.30 34.40
        29.20 30.5  52.60 31.90 44.10 10.80 17.60 14.30 32.20""",
    ("OME", "TGRS 2023"): """94.62 36.60 52.72 13.12 22.53 13.12 32.49  9.87
        31.15 48.38 66.22 54.73 43.03 31.31  8.17 16.99 35.94""",
    ("SLRNet", "IJCV 2022"): """74.66 38.13 30.69  2.18 14.10  7.36 33.92 24.40
        23.95 16.46 44.11 39.23 30.21  8.20 12.56 12.46 25.79""",
    ("AFA", "CVPR 2022"): """75.17 31.50 40.13  4.76  8.68  9.93 48.86 13.79
        24.29 25.93 49.59 33.95 39.53 32.46 32.22 25.03 30.58""",
    ("CTFA", "TGRS 2024"): """90.20 55.97 40.18 14.87 28.73 14.97 42.12 38.21
        20.15 37.72 50.67 35.72 48.15 32.85 32.82 22.10 37.84""",
    ("Ours", "-"): """83.40 49.94 53.55 11.96 29.61 18.76 49.21 40.96
        17.16 39.26 47.97 29.75 45.83 25.41 38.02 27.40 38.01""",
}
_POTSDAM = {
    ("SLRNet", "IJCV 2022"): "51.20 45.93 35.86 33.61 39.63  4.63 35.14 54.12 48.12",
    ("AFA", "CVPR 2022"): "58.60 48.94 45.93 27.40 42.13 16.68 39.95 60.15 51.21",
    ("CTFA", "TGRS 2024"): "58.75 50.58 51.20 50.35 50.82 17.96 46.61 66.23 57.12",
    ("Ours", "-"): "55.40 52.43 50.85 52.67 50.41 20.31 47.01 66.89 56.70",
}


def _rows(table: int, cells: Mapping[tuple[str, str], str], classes: tuple[str, ...]) -> tuple[Row, ...]:
    rows = []
    for (method, venue), text in cells.items():
        numbers = [float(word) for word in text.split()]
        each = dict(zip(classes, numbers, strict=False))
        rows.append(Row(table, method, venue, each, *numbers[len(classes) :]))
    return tuple(rows)


TABLE1 = _rows(1, _ISAID, ISAID_CLASSES)
"""iSAID, IoU of each class."""
TABLE2 = _rows(2, _POTSDAM, POTSDAM_CLASSES)
"""Potsdam, IoU of each class."""

TABLE3: Mapping[tuple[str, ...], float] = {
    (): 32.80,
    ("TPE",): 33.28,
    ("USR",): 33.40,
    ("VPE",): 36.54,
    ("TPE", "USR"): 33.95,
    ("TPE", "VPE"): 36.99,
    ("USR", "VPE"): 37.67,
    ("TPE", "USR", "VPE"): 38.01,
}
"""Those of `MODULES` that are in use -> mIoU on iSAID."""
TABLE4 = {"CTFA": (111.50, 104.79, 979.32), "Ours": (177.89, 16.45, 194.32)}
"""Method -> parameters (M), of those trained (M), and "FLOPs" (G).

Ours is what a batch of four images of 320 x 320 px costs in multiply-adds with DINOv2 ViT-S/14, although the
text names ViT-B/14; "trained" are 6.21 M and the last block of both towers of CLIP, which no optimiser had.
"""
TABLE5: Mapping[int, float] = {4: 37.45, 6: 37.79, 8: 38.01, 10: 37.83}
"""Clusters of texts -> mIoU on iSAID."""
TABLE6: Mapping[int, float] = {1: 37.76, 2: 37.97, 3: 38.01, 4: 37.93}
"""Steps of diffusion -> mIoU on iSAID."""


def published(
    name: str, modules: tuple[str, ...] = MODULES, clusters: int = CLUSTERS, alpha: int = ALPHA
) -> Row | None:
    """What is printed of the method on the registered test set `name`; None where nothing is.

    `modules`: those of `MODULES` that are in use, in that order. The whole method is in table 1 or 2; the
    tables 3, 5 and 6 of iSAID change the modules, the clusters or the steps, one of them at a time.
    """
    area = PROTOCOL.get(name)
    changed = (modules != MODULES, clusters != CLUSTERS, alpha != ALPHA)
    if not any(changed):
        return {"iSAID": TABLE1[-1], "Potsdam": TABLE2[-1]}.get(area)
    if area != "iSAID" or sum(changed) > 1:
        return None
    ablations = ((3, TABLE3.get(modules)), (5, TABLE5.get(clusters)), (6, TABLE6.get(alpha)))
    table, mean = ablations[changed.index(True)]
    return None if mean is None else Row(table, "Ours", "-", {}, mean)
