"""GSNet behind Detectron2."""

from detectron2.modeling import SEM_SEG_HEADS_REGISTRY

from rskt_seg.d2.open_vocabulary import OpenVocabularyHead, OpenVocabularyMethod
from rskt_seg.methods import gsnet


@SEM_SEG_HEADS_REGISTRY.register()
class GSNetHead(OpenVocabularyHead):
    """GSNet (`rskt_seg.models.gsnet.GSNet`), with any vocabulary."""


GSNET = OpenVocabularyMethod(method=gsnet.GSNET, head=GSNetHead, section="GSNET")
