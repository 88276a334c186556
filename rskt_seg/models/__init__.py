"""The models as plain torch modules, and the specifications of their options."""

from rskt_seg.models.bicor import BiCoR, BiCoROutput, BiCoRSpec
from rskt_seg.models.catseg import CATSeg, CATSegSpec
from rskt_seg.models.clip_zeroshot import ClipZeroShot, ClipZeroShotOutput, ClipZeroShotSpec
from rskt_seg.models.cost_volumes import CostVolumeOutput
from rskt_seg.models.fctl import FCtL, FCtLOutput, FCtLSpec
from rskt_seg.models.gsnet import GSNet, GSNetSpec
from rskt_seg.models.options import Range, check_options, refuse_unread
from rskt_seg.models.ovrs import OVRS, OVRSSpec
from rskt_seg.models.rskt import RSKT, RSKTSpec
from rskt_seg.models.wsss import PriorOutput, PriorWSSS, PriorWSSSSpec
from rskt_seg.typing import Spec

__all__ = [
    "BiCoR",
    "BiCoROutput",
    "BiCoRSpec",
    "CATSeg",
    "CATSegSpec",
    "CostVolumeOutput",
    "ClipZeroShot",
    "ClipZeroShotOutput",
    "ClipZeroShotSpec",
    "FCtL",
    "FCtLOutput",
    "FCtLSpec",
    "GSNet",
    "GSNetSpec",
    "OVRS",
    "OVRSSpec",
    "PriorOutput",
    "PriorWSSS",
    "PriorWSSSSpec",
    "RSKT",
    "RSKTSpec",
    "Range",
    "Spec",
    "check_options",
    "refuse_unread",
]
