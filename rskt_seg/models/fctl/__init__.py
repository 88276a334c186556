"""FCtL: segmentation of ultra-high resolution images patch by patch, each patch seen in its contexts."""

from rskt_seg.models.fctl.model import ContextFeatures, FCtL, FCtLOutput
from rskt_seg.models.fctl.spec import FCtLSpec

__all__ = ["ContextFeatures", "FCtL", "FCtLOutput", "FCtLSpec"]
