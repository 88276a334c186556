"""Weakly supervised segmentation: frozen CLIP and DINOv2, texts and visual prototypes, pseudo labels."""

from rskt_seg.models.wsss.classes import with_background
from rskt_seg.models.wsss.model import FROZEN, PriorOutput, PriorWSSS, Stages
from rskt_seg.models.wsss.spec import PriorWSSSSpec

__all__ = ["FROZEN", "PriorOutput", "PriorWSSS", "PriorWSSSSpec", "Stages", "with_background"]
