"""Cost of models: parameters, FLOPs by a stated rule, time and memory."""

from rskt_seg.analysis.cost import CallCost, ImageCost, Parameters, count_parameters, image_cost
from rskt_seg.analysis.flops import RULE, count_flops, counting, trace_flops
from rskt_seg.analysis.measure import Measurement, measure_image
from rskt_seg.analysis.report import (
    Analysis,
    ImageResult,
    csv_report,
    json_report,
    markdown_report,
    text_report,
)

__all__ = [
    "RULE",
    "Analysis",
    "CallCost",
    "ImageCost",
    "ImageResult",
    "Measurement",
    "Parameters",
    "count_flops",
    "count_parameters",
    "counting",
    "csv_report",
    "image_cost",
    "json_report",
    "markdown_report",
    "measure_image",
    "text_report",
    "trace_flops",
]
