"""OVRS: CAT-Seg with rotated images, and guides that are scaled by the mean of all classes."""

from rskt_seg.models.ovrs.model import OVRS
from rskt_seg.models.ovrs.spec import OVRSSpec

__all__ = ["OVRS", "OVRSSpec"]
