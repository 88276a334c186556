"""CAT-Seg behind Detectron2."""

from detectron2.modeling import SEM_SEG_HEADS_REGISTRY

from rskt_seg.d2.open_vocabulary import OpenVocabularyHead, OpenVocabularyMethod
from rskt_seg.methods import catseg


@SEM_SEG_HEADS_REGISTRY.register()
class CATSegHead(OpenVocabularyHead):
    """CAT-Seg (`rskt_seg.models.catseg.CATSeg`), with any vocabulary."""


CATSEG = OpenVocabularyMethod(method=catseg.CATSEG, head=CATSegHead, section="CATSEG")
