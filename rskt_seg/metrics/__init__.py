"""Confusion counts, scores, published protocols and tables, and reports of them."""

from rskt_seg.metrics.benchmark import (
    chance_iou,
    classes_csv,
    json_report,
    markdown_report,
    subset_miou,
    summary_table,
    table_csv,
    text_report,
)
from rskt_seg.metrics.confusion import UNCLASSIFIED, ConfusionMatrix, Scores
from rskt_seg.metrics.protocols import (
    PROTOCOLS,
    Protocol,
    ProtocolScores,
    check_protocol,
    describe_protocol,
    explain_scores,
    find_protocol,
    protocol_as_dict,
    protocol_scores,
)
from rskt_seg.metrics.published import PublishedRow, PublishedTable, parse_table, read_table, table_names
from rskt_seg.metrics.report import (
    class_table,
    mean_scores,
    render_table,
    score_table,
    scores_as_dict,
    scores_json,
)
from rskt_seg.metrics.results import BenchmarkReference, PrintedCost, Reference, Run, SetResult

__all__ = [
    "PROTOCOLS",
    "UNCLASSIFIED",
    "BenchmarkReference",
    "ConfusionMatrix",
    "PrintedCost",
    "Protocol",
    "ProtocolScores",
    "PublishedRow",
    "PublishedTable",
    "Reference",
    "Run",
    "Scores",
    "SetResult",
    "chance_iou",
    "check_protocol",
    "class_table",
    "classes_csv",
    "describe_protocol",
    "explain_scores",
    "find_protocol",
    "json_report",
    "markdown_report",
    "mean_scores",
    "parse_table",
    "protocol_as_dict",
    "protocol_scores",
    "read_table",
    "render_table",
    "score_table",
    "scores_as_dict",
    "scores_json",
    "subset_miou",
    "summary_table",
    "table_csv",
    "table_names",
    "text_report",
]
