"""Rows of the benchmark table of the RSKT-Seg paper."""

from rskt_seg.metrics.published import ComparableTable, read_table
from rskt_seg.metrics.results import BenchmarkReference
from rskt_seg.models.rskt import RSKTSpec

COLUMNS = {
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
TABLES = (ComparableTable("rskt_table1", COLUMNS, {"measure": "mIoU"}),)
_BACKBONES = {"vitb16": "ViT-B", "vitl14": "ViT-L"}


def published_row(spec: RSKTSpec, trained_on: str) -> BenchmarkReference | None:
    """Return the row of table 1 that a model repeats.

    Args:
        spec: Specification of the model; only its encoder matters.
        trained_on: Training dataset, "DLRSD" or "iSAID".

    Returns:
        mIoU and mACC on the eight test sets; None if the table has no such row.
    """
    table = read_table("rskt_table1")
    labels = {"trained_on": trained_on, "method": "RSKT-Seg", "backbone": _BACKBONES.get(spec.encoder, "")}
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
