"""OVRSISBench as the RSKT-Seg paper prints it, whose table 1 has rows of several methods."""

from collections.abc import Mapping

from rskt_seg.metrics.published import ComparableTable, read_table
from rskt_seg.metrics.results import BenchmarkReference

COLUMNS: Mapping[str, str] = {
    "DLRSD_all_sem_seg": "DLRSD",
    "iSAID_all_sem_seg": "iSAID",
    "LoveDA_all_8c_sem_seg": "LoveDA",
    "Potsdam_all_sem_seg": "Potsdam",
    "uavid_all_sem_seg": "UAVid",
    "UDD5_all_sem_seg": "UDD5",
    "Vaihingen_all_sem_seg": "Vaihingen",
    "VDD_all_sem_seg": "VDD",
}
"""Registered test set -> column of table 1. Scores are comparable on these registrations: LoveDA in the
published form of 8 classes, the training datasets including their training images."""
TABLE_1 = ComparableTable("rskt_table1", COLUMNS, {"measure": "mIoU"})
_BACKBONES = {"vitb16": "ViT-B", "vitl14": "ViT-L"}


def main_row(method: str, encoder: str, trained_on: str) -> BenchmarkReference | None:
    """Return a row of table 1.

    Args:
        method: Its name there, such as "Cat-Seg".
        encoder: Encoder of the model, such as "vitb16".
        trained_on: "DLRSD" or "iSAID".

    Returns:
        mIoU and mACC on the eight test sets, and their means; None if the table has no such row.
    """
    table = read_table("rskt_table1")
    labels = {"trained_on": trained_on, "method": method, "backbone": _BACKBONES.get(encoder, "")}
    rows = {measure: table.find(**labels, measure=measure) for measure in ("mIoU", "mACC")}
    printed = {measure: row.figures for measure, row in rows.items() if row is not None}
    if not printed:
        return None
    return BenchmarkReference(
        source=f"{table.source}: {labels['backbone']} trained on {trained_on}",
        labels=labels,
        columns=COLUMNS,
        figures={m: {c: row[c] for c in table.columns if c != "mean"} for m, row in printed.items()},
        means={measure: row["mean"] for measure, row in printed.items()},
    )
