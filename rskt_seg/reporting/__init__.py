"""A page about a run, from the files in its output folder: curves, scores, pictures, configuration."""

from rskt_seg.reporting.page import report_page
from rskt_seg.reporting.run_folder import RunFolder, read_run_folder

__all__ = ["RunFolder", "read_run_folder", "report_page"]
