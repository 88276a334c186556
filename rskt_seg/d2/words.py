"""Words of class names that a small text encoder never saw: refused before a run, or told."""

import logging
from collections.abc import Iterable, Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from rskt_seg.d2.methods.registry import method_of
from rskt_seg.encoders.text import Tokenizer, first_names
from rskt_seg.errors import VocabularyError
from rskt_seg.typing import SegmentationModel

logger = logging.getLogger(__name__)


def check_words(tokenizer: Tokenizer, texts: Iterable[str]) -> None:
    """Refuse unknown words of texts, or warn of them where they are read as noise.

    Args:
        tokenizer: The tokenizer that will read the texts.
        texts: Class names, prompts or descriptions.

    Raises:
        VocabularyError: A word is unknown and is not read as noise; the message has the known words that are
            spelled most like each.
    """
    unknown = dict.fromkeys(word for text in texts for word in tokenizer.unknown_words(text))
    if not unknown:
        return
    listed = "; ".join(f"{word!r} ({_near(tokenizer.near_words(word))})" for word in unknown)
    if not tokenizer.reads_unknown:
        raise VocabularyError(
            f"the tiny text encoder never saw these words of the class names: {listed}. Use the words of "
            "rskt_seg/encoders/tiny_words.txt, or a full model; for a run that only shows that it runs, "
            "--any-words (MODEL.UNKNOWN_WORDS noise) reads them as noise"
        )
    logger.warning(
        "smoke run: the text encoder never saw %s. Each reads as noise of its own: scores say nothing of "
        "what such names mean",
        listed,
    )


def check_vocabularies(cfg: CfgNode, model: SegmentationModel) -> None:
    """Check the words of all datasets of a run for a model that is asked for class names.

    Args:
        cfg: The configuration; its datasets are registered.
        model: The plain model.

    Raises:
        VocabularyError: As `check_words`.
    """
    record = method_of(cfg)
    encoder = None if record.method.is_closed else record.text_encoder(model)
    if encoder is None:
        return
    names: list[str] = []
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        if classes := MetadataCatalog.get(name).get("stuff_classes"):
            names += first_names(classes)
    check_words(encoder[1], names)


def _near(words: Sequence[str]) -> str:
    return f"near in spelling: {', '.join(words)}" if words else "nothing known is near"
