"""FCtL: segmentation of ultra-high resolution images patch by patch, each patch seen with its contexts."""

from rskt_seg.models.fctl.model import ContextFeatures, ContextMaps, FCtL, FCtLOutput
from rskt_seg.models.fctl.spec import CONTEXTS, WHOLE_IMAGE, FCtLSpec

__all__ = ["CONTEXTS", "WHOLE_IMAGE", "ContextFeatures", "ContextMaps", "FCtL", "FCtLOutput", "FCtLSpec"]
