"""RSKT-Seg behind Detectron2."""

from dataclasses import dataclass

from detectron2.modeling import SEM_SEG_HEADS_REGISTRY

from rskt_seg.d2.methods.rskt_authors_keys import advice
from rskt_seg.d2.open_vocabulary import OVRSIS_CHAIN, OpenVocabularyHead, OpenVocabularyMethod
from rskt_seg.methods import rskt


@SEM_SEG_HEADS_REGISTRY.register()
class RSKTSegHead(OpenVocabularyHead):
    """RSKT-Seg (`rskt_seg.models.rskt.RSKT`), with any vocabulary."""


@dataclass(frozen=True)
class _RSKTMethod(OpenVocabularyMethod):
    def advice(self, key: str) -> str | None:
        """Know the keys of the authors' YAML files."""
        return advice(key)


RSKT_SEG = _RSKTMethod(
    method=rskt.RSKT_SEG, head=RSKTSegHead, section="RSKT", chains={"ovrsis": OVRSIS_CHAIN}
)
