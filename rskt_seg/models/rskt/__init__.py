"""RSKT-Seg: rotation-aware, remote-sensing knowledge transfer for open-vocabulary segmentation."""

from rskt_seg.models.rskt.model import RSKT
from rskt_seg.models.rskt.spec import RSKTSpec

__all__ = ["RSKT", "RSKTSpec"]
