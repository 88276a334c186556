"""Checks of datasets: every file of a split before it is used, or a quick look at the start of a run."""

from rskt_seg.data.checking.check import check_split, select_splits, shared_images
from rskt_seg.data.checking.findings import ERROR, NOTE, Fault, Finding, Kind, Report, summary
from rskt_seg.data.checking.quick import quick_check, quick_image_check

__all__ = [
    "ERROR",
    "NOTE",
    "Fault",
    "Finding",
    "Kind",
    "Report",
    "check_split",
    "quick_check",
    "quick_image_check",
    "select_splits",
    "shared_images",
    "summary",
]
