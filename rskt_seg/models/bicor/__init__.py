"""BiCoR-Seg: class embeddings and pixel features that refine each other through class heatmaps."""

from rskt_seg.models.bicor.model import BiCoR, BiCoROutput
from rskt_seg.models.bicor.spec import BiCoRSpec

__all__ = ["BiCoR", "BiCoROutput", "BiCoRSpec"]
