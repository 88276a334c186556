"""Table 1 of the RSKT-Seg paper: what was published on OVRSISBench, as reference beside own results.

Each row prints mIoU and mACC (percent) of eight sets, and their means. The means are those of the paper;
two of them are not the mean of their row: OVRS ViT-B trained on DLRSD (m-mACC printed 54.51, the mean is
54.39) and GSNet ViT-L trained on DLRSD (m-mIoU printed 44.56, the mean is 44.59).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

COLUMNS = ("DLRSD", "iSAID", "LoveDA", "Potsdam", "UAVid", "UDD5", "Vaihingen", "VDD")
"""The sets of the table, in its order."""

PROTOCOL: Mapping[str, str] = {
    "DLRSD_all_sem_seg": "DLRSD",
    "iSAID_all_sem_seg": "iSAID",
    "LoveDA_all_8c_sem_seg": "LoveDA",
    "Potsdam_all_sem_seg": "Potsdam",
    "uavid_all_sem_seg": "UAVid",
    "UDD5_all_sem_seg": "UDD5",
    "Vaihingen_all_sem_seg": "Vaihingen",
    "VDD_all_sem_seg": "VDD",
}
"""Registered name -> column, for the registrations whose scores compare with the table: LoveDA in the
published form of 8 classes, the training sets with their training images."""

# Method, backbone, measure, its value in each column and the mean as printed; mIoU, then mACC.
_ROWS = {
    "DLRSD": """
        SCAN     ViT-B      mIoU 48.52 34.18 18.23 20.22 18.56 32.12  5.38 26.25 25.43
        SCAN     ViT-B      mACC 68.68 49.05 40.12 34.70 30.31 40.45 22.54 43.67 41.19
        SAN      ViT-B      mIoU 85.73 30.63 23.15 30.30 22.34 36.87 31.92 34.76 36.96
        SAN      ViT-B      mACC 91.03 44.03 48.26 44.98 37.56 47.21 45.36 52.42 51.36
        SED      ConvNeXt-B mIoU 85.13 21.54 21.32 19.47 20.12 34.65 29.40 31.43 32.88
        SED      ConvNeXt-B mACC 91.36 36.28 45.17 33.40 33.34 44.10 49.38 50.25 47.91
        Cat-Seg  ViT-B      mIoU 85.84 23.56 25.45 26.79 24.56 38.23 32.32 36.18 36.62
        Cat-Seg  ViT-B      mACC 91.44 38.48 50.32 44.72 39.20 49.56 49.65 54.30 52.21
        OVRIS    ViT-B      mIoU 85.98 39.09 28.67 27.47 25.23 39.10 33.71 37.34 39.57
        OVRIS    ViT-B      mACC 91.52 54.43 52.10 42.07 40.18 50.65 49.01 55.15 54.51
        GSNet    ViT-B      mIoU 84.12 42.00 29.32 26.46 25.42 40.05 35.15 38.10 40.08
        GSNet    ViT-B      mACC 90.53 59.19 53.02 43.20 40.70 51.72 52.62 56.01 55.87
        RSKT-Seg ViT-B      mIoU 90.60 44.04 32.49 34.53 28.14 42.99 37.16 41.22 43.90
        RSKT-Seg ViT-B      mACC 94.89 61.23 55.67 50.71 42.86 57.81 54.81 58.09 59.51
        SCAN     ViT-L      mIoU 52.42 44.28 23.17 27.45 20.28 34.14 15.23 29.24 30.78
        SCAN     ViT-L      mACC 72.43 67.25 35.36 39.22 34.43 43.25 29.45 45.57 45.87
        SAN      ViT-L      mIoU 86.45 49.56 25.33 37.25 23.53 37.23 39.22 35.83 41.80
        SAN      ViT-L      mACC 91.25 67.25 37.54 46.28 38.14 48.45 48.33 53.25 53.81
        SED      ConvNeXt-L mIoU 87.68 51.23 24.55 29.35 21.33 35.73 39.02 32.53 40.18
        SED      ConvNeXt-L mACC 91.24 68.24 36.83 37.95 35.64 45.15 58.62 51.34 53.13
        Cat-Seg  ViT-L      mIoU 88.68 53.34 28.64 35.75 25.73 40.24 42.30 39.14 44.23
        Cat-Seg  ViT-L      mACC 93.34 70.86 38.73 49.03 40.54 51.65 60.65 55.85 57.58
        OVRIS    ViT-L      mIoU 88.85 52.65 31.53 36.44 24.13 40.82 43.50 37.23 44.39
        OVRIS    ViT-L      mACC 93.64 69.59 59.82 50.17 34.83 54.24 63.31 56.34 60.24
        GSNet    ViT-L      mIoU 86.02 53.73 32.52 37.85 24.22 40.92 44.13 37.34 44.56
        GSNet    ViT-L      mACC 91.48 71.57 60.23 52.35 35.03 57.04 62.38 57.04 60.89
        RSKT-Seg ViT-L      mIoU 93.49 54.32 33.23 38.44 25.72 42.10 42.69 39.69 46.21
        RSKT-Seg ViT-L      mACC 96.49 71.72 57.41 56.69 40.89 56.39 63.29 58.60 62.69
    """,
    "iSAID": """
        SCAN     ViT-B      mIoU 16.09 62.34 12.56 18.25  9.87  8.45  8.72 15.32 18.95
        SCAN     ViT-B      mACC 38.25 76.48 32.10 33.17 15.30 28.60 27.20 35.10 35.78
        SAN      ViT-B      mIoU 18.82 85.43 18.45 14.82 12.32 12.11 16.23 22.10 25.04
        SAN      ViT-B      mACC 42.36 90.36 40.25 34.84 18.32 32.45 34.38 40.25 41.65
        SED      ConvNeXt-B mIoU 21.48 93.31 20.10  5.78 14.80 10.23  9.36 17.32 24.05
        SED      ConvNeXt-B mACC 45.15 96.66 42.30 17.52 18.90 31.50 21.62 38.12 38.97
        Cat-Seg  ViT-B      mIoU 20.41 94.16 23.50 15.23 15.47 12.10 14.03 19.62 26.82
        Cat-Seg  ViT-B      mACC 44.08 96.72 41.55 37.17 23.57 38.55 38.61 51.38 46.45
        OVRIS    ViT-B      mIoU 21.06 94.60 25.30 15.57 16.22 11.90 14.66 21.42 27.59
        OVRIS    ViT-B      mACC 45.48 96.87 42.32 38.94 24.05 38.80 38.68 51.25 47.05
        GSNet    ViT-B      mIoU 26.20 90.00 26.80 15.12 15.93 12.44 14.25 22.22 27.87
        GSNet    ViT-B      mACC 57.07 93.60 42.84 36.16 24.33 39.62 41.15 42.33 47.14
        RSKT-Seg ViT-B      mIoU 24.80 93.16 28.07 20.28 17.15 13.94 17.47 25.34 30.03
        RSKT-Seg ViT-B      mACC 55.94 96.37 46.58 46.71 34.78 43.47 50.84 47.18 52.73
        SCAN     ViT-L      mIoU 21.44 64.28 18.50 28.32 14.32 16.22 14.23 20.18 24.69
        SCAN     ViT-L      mACC 53.26 85.46 38.20 52.47 26.00 32.51 34.25 36.70 44.86
        SAN      ViT-L      mIoU 20.54 87.22 22.33 24.72 15.01 21.35 22.49 26.42 30.01
        SAN      ViT-L      mACC 49.32 92.54 44.22 56.54 26.50 37.66 50.78 42.30 49.98
        SED      ConvNeXt-L mIoU 23.80 94.32 23.24 11.85 15.21 22.42 12.61 28.50 28.99
        SED      ConvNeXt-L mACC 50.36 96.84 45.13 23.87 26.80 39.15 25.73 44.20 44.01
        Cat-Seg  ViT-L      mIoU 28.80 94.77 25.11 23.90 16.10 24.32 21.74 30.16 33.11
        Cat-Seg  ViT-L      mACC 59.56 96.96 48.25 49.49 26.90 42.77 51.25 47.20 52.80
        OVRIS    ViT-L      mIoU 32.25 94.86 27.98 26.39 16.24 31.88 28.80 31.01 36.18
        OVRIS    ViT-L      mACC 60.35 97.06 49.01 50.15 27.00 55.32 54.20 55.30 56.05
        GSNet    ViT-L      mIoU 31.50 93.11 27.21 28.50 15.98 32.24 25.10 32.07 35.71
        GSNet    ViT-L      mACC 63.05 95.98 49.53 52.00 27.10 56.20 52.80 55.21 56.48
        RSKT-Seg ViT-L      mIoU 31.57 93.96 29.62 28.57 17.36 34.01 25.55 33.40 36.76
        RSKT-Seg ViT-L      mACC 61.66 96.63 51.01 51.69 35.75 57.38 52.66 56.50 57.91
    """,
}


@dataclass(frozen=True)
class Published:
    """One row: `mIoU` and `mACC` (percent) by column, `mean_mIoU` and `mean_mACC` as printed."""

    trained_on: str
    method: str
    backbone: str
    mIoU: Mapping[str, float]
    mACC: Mapping[str, float]
    mean_mIoU: float
    mean_mACC: float


def _parse(trained_on: str, text: str) -> Iterator[Published]:
    lines = [line.split() for line in text.strip().splitlines()]
    for (method, backbone, _, *iou), (_, _, _, *acc) in zip(lines[::2], lines[1::2], strict=True):
        columns = [dict(zip(COLUMNS, map(float, numbers[:-1]), strict=True)) for numbers in (iou, acc)]
        yield Published(trained_on, method, backbone, *columns, float(iou[-1]), float(acc[-1]))


TABLE1: tuple[Published, ...] = tuple(
    row for trained_on, text in _ROWS.items() for row in _parse(trained_on, text)
)
"""The 28 rows of table 1."""


def published(trained_on: str, backbone: str, method: str = "RSKT-Seg") -> Published | None:
    """The row of a method trained on "DLRSD" or "iSAID" with "ViT-B" or "ViT-L"; None if there is none."""
    rows = [r for r in TABLE1 if (r.trained_on, r.backbone, r.method) == (trained_on, backbone, method)]
    return rows[0] if rows else None
