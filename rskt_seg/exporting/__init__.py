"""Export of a model with its class names as a graph, and use of such graphs without the model."""

from rskt_seg.exporting.export import check_export, export_graph
from rskt_seg.exporting.model import PROVIDERS, GraphModel, open_graph

__all__ = ["PROVIDERS", "GraphModel", "check_export", "export_graph", "open_graph"]
