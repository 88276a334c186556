"""OVRS behind Detectron2."""

from detectron2.modeling import SEM_SEG_HEADS_REGISTRY

from rskt_seg.d2.open_vocabulary import OpenVocabularyHead, OpenVocabularyMethod
from rskt_seg.methods import ovrs


@SEM_SEG_HEADS_REGISTRY.register()
class OVRSHead(OpenVocabularyHead):
    """OVRS (`rskt_seg.models.ovrs.OVRS`), with any vocabulary."""


OVRS = OpenVocabularyMethod(method=ovrs.OVRS, head=OVRSHead, section="OVRS")
