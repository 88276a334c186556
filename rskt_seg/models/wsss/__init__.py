"""Weakly supervised segmentation: frozen CLIP and DINOv2, texts and visual prototypes, pseudo labels."""

from rskt_seg.models.wsss.classes import CamChannels, find_channels, with_background
from rskt_seg.models.wsss.knowledge import Knowledge, KnowledgeClass, find_packaged, read_knowledge
from rskt_seg.models.wsss.model import FROZEN, PriorWSSS
from rskt_seg.models.wsss.outputs import Cams, Evidence, PriorOutput, Stages
from rskt_seg.models.wsss.spec import PriorWSSSSpec

__all__ = [
    "FROZEN",
    "CamChannels",
    "Cams",
    "Evidence",
    "Knowledge",
    "KnowledgeClass",
    "PriorOutput",
    "PriorWSSS",
    "PriorWSSSSpec",
    "Stages",
    "find_channels",
    "find_packaged",
    "read_knowledge",
    "with_background",
]
