"""Weight files: reading, renaming, fetching. What is loaded into which model: `rskt_seg.methods`."""

from rskt_seg.checkpoints.files import WeightFile, read_weights
from rskt_seg.checkpoints.rules import LoadReport, Rule

__all__ = ["LoadReport", "Rule", "WeightFile", "read_weights"]
