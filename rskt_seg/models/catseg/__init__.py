"""CAT-Seg: open-vocabulary segmentation by aggregation of CLIP's cost volume."""

from rskt_seg.models.catseg.model import CATSeg
from rskt_seg.models.catseg.spec import CATSegSpec

__all__ = ["CATSeg", "CATSegSpec"]
