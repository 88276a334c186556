"""CLIP zero-shot behind Detectron2: evaluated alone, for there is nothing to train."""

from collections.abc import Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode, configurable
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor

from rskt_seg.d2.heads import Head
from rskt_seg.d2.methods.record import DetectronMethod
from rskt_seg.d2.specs import model_spec
from rskt_seg.d2.typing import Entries
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.inference.predict import resized_scores
from rskt_seg.methods import clip_zeroshot
from rskt_seg.models.clip_zeroshot import NOTHING_TO_TRAIN, ClipZeroShot


@SEM_SEG_HEADS_REGISTRY.register()
class ClipZeroShotHead(Head):
    """CLIP zero-shot (`rskt_seg.models.clip_zeroshot.ClipZeroShot`), with any vocabulary.

    Args:
        model: The plain model.
        ignore_value: Ignored, because there is no loss.
    """

    model: ClipZeroShot

    @configurable
    def __init__(self, *, model: ClipZeroShot, ignore_value: int = 255) -> None:
        super().__init__(model, ignore_value)

    def losses(self, entries: Entries, vocabulary: Sequence[str]) -> dict[str, Tensor]:
        """See `Head.losses`: refused.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(NOTHING_TO_TRAIN)

    def forward(self, entries: Entries, vocabulary: Sequence[str]) -> list[Tensor]:
        """Return scores (T, height, width) in 0..1 of each entry, computed at the size of its image file."""
        results = []
        for image, entry in zip(self.images(entries), entries, strict=True):
            height, width = image.shape[1:]
            size = (entry.get("height", height), entry.get("width", width))
            results.append(resized_scores(self.model, self.model(image[None], vocabulary), size))
        return results


@dataclass(frozen=True)
class _ClipZeroShotMethod(DetectronMethod):
    def check_test_data(self, cfg: CfgNode, name: str, entries: Entries) -> None:
        """Check that the names of the classes can be asked for, and that the background is one of them."""
        for entry in entries[:1]:
            try:
                model_spec(cfg).check_vocabulary(entry["vocabulary"])
            except VocabularyError as error:
                raise ConfigError(f"{name}: {error}") from error


CLIP_ZEROSHOT = _ClipZeroShotMethod(
    method=clip_zeroshot.CLIP_ZEROSHOT, head=ClipZeroShotHead, section="CLIP_ZEROSHOT"
)
