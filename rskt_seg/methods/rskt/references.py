"""Rows of the benchmark table of the RSKT-Seg paper."""

from rskt_seg.methods.ovrsis import main_row
from rskt_seg.metrics.results import BenchmarkReference
from rskt_seg.models.rskt import RSKTSpec


def published_row(spec: RSKTSpec, trained_on: str) -> BenchmarkReference | None:
    """Return the row of table 1 that a model repeats.

    Args:
        spec: Specification of the model; only its encoder matters.
        trained_on: Training dataset, "DLRSD" or "iSAID".

    Returns:
        mIoU and mACC on the eight test sets; None if the table has no such row.
    """
    return main_row("RSKT-Seg", spec.encoder, trained_on)
