"""Loading what users have: our own and published checkpoints, and the files of the encoders."""

from rskt_seg.checkpoints.load import load_checkpoint, load_encoder
from rskt_seg.checkpoints.rules import LoadReport

__all__ = ["LoadReport", "load_checkpoint", "load_encoder"]
