"""GSNet: CLIP for generality, and a DINO of remote-sensing images for the domain."""

from rskt_seg.models.gsnet.model import GSNet
from rskt_seg.models.gsnet.spec import GSNetSpec

__all__ = ["GSNet", "GSNetSpec"]
