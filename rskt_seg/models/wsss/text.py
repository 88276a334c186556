"""TPE: class texts, enriched by the centroids of a knowledge base (equations 1 to 4)."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.digests import weights_digest
from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.text import Tokenizer, prompts
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.models.wsss.knowledge import PACKAGED, TINY, Knowledge, find_packaged, read_knowledge
from rskt_seg.models.wsss.prototypes import cluster_texts, enrich
from rskt_seg.models.wsss.spec import PriorWSSSSpec
from rskt_seg.writing import replacing

logger = logging.getLogger(__name__)

_CHUNK = 64
_BLURRED = 0.1


class Described(NamedTuple):
    """What TPE reads: how the prompt calls the T classes, their descriptions (class by class, as many for
    each; empty without TPE), and digest and name of the file that they come from."""

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    digest: str
    source: str


def describe_classes(spec: PriorWSSSSpec, names: Sequence[str]) -> Described:
    """The descriptions of the classes `names`, in their order.

    Raises `ConfigError` where a description file cannot be used or lacks a class, and where TPE has no
    knowledge base for these classes.
    """
    knowledge: Knowledge | None = (
        read_knowledge(spec.descriptions) if spec.descriptions else find_packaged(names)
    )
    if knowledge is None:
        if spec.tpe:
            packaged = ", ".join(name for name in PACKAGED if name not in TINY)
            raise ConfigError(
                f"no packaged description file ({packaged}) knows all of {', '.join(names)}: "
                "write one (docs/weak_supervision.md) and give it as descriptions "
                "(MODEL.WSSS.DESCRIPTIONS), or switch the enrichment off, tpe=False (MODEL.WSSS.TPE False)"
            )
        return Described(tuple(name.lower() for name in names), (), "", "")
    logger.info("Classes are described by %s", knowledge.source)
    for notice in knowledge.notices:
        logger.warning("%s", notice)
    classes = knowledge.for_classes(names)
    lines = [line for each in classes for line in each.descriptions] if spec.tpe else []
    return Described(tuple(each.name for each in classes), tuple(lines), knowledge.digest, knowledge.source)


def check_tokens(described: Described, tokenizer: Tokenizer) -> None:
    """Raise `ConfigError`, naming file and class, for a description that the text tower cannot take whole."""
    for position, text in enumerate(described.descriptions):
        name = described.names[position * len(described.names) // len(described.descriptions)]
        where = f"{described.source}, class {name!r}"
        if (count := tokenizer.length(text)) > tokenizer.context_length:
            raise ConfigError(
                f"{where}: at most {tokenizer.context_length} tokens expected, for the text encoder reads "
                f"no more; found {count}: shorten {text!r}"
            )
        try:
            tokenizer([text])
        except VocabularyError as error:
            raise ConfigError(f"{where}: {error}") from None


def class_texts(
    clip: CLIP, tokenizer: Tokenizer, spec: PriorWSSSSpec, described: Described, cache: Path | None = None
) -> Tensor:
    """The texts (T, E) float32 of the classes, enriched if `spec.tpe`; not of unit length then.

    `cache`: a folder where the result is kept under a name that depends on all that it depends on: the
    descriptions, the text tower's weights, and the options. With TPE the log says how alike the classes are
    before and after. Raises `ConfigError` and `VocabularyError`.
    """
    base = encode(clip, tokenizer, prompts(described.names, [spec.template]))
    if not spec.tpe:
        return base
    check_tokens(described, tokenizer)
    file = None if cache is None else Path(cache, f"class_texts_{_key(clip, spec, described)}.npy")
    if file is not None and file.is_file():
        texts = torch.from_numpy(np.load(file, allow_pickle=False)).to(base.device)
    else:
        knowledge = encode(clip, tokenizer, described.descriptions)
        centroids = cluster_texts(knowledge, spec.clusters, spec.restarts).to(base)
        texts = enrich(base, centroids, spec.topk, spec.text_weight).texts
        if file is not None:
            _keep(texts, file)
    _log_likeness(base, texts)
    return texts


def _keep(texts: Tensor, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as partial, open(partial, "wb") as stream:
        np.save(stream, texts.cpu().numpy())


def _log_likeness(base: Tensor, texts: Tensor) -> None:
    """Say how alike classes are; the enrichment adds nearly the same to all where it is too strong."""
    if len(base) == 1:
        return
    before, after = _likeness(base), _likeness(texts)
    logger.info("Mean cosine between classes: %.3f by name, %.3f enriched", before, after)
    if after - before > _BLURRED:
        logger.warning(
            "The enrichment makes classes alike (mean cosine %.3f, was %.3f): try a smaller "
            "MODEL.WSSS.TEXT_WEIGHT or MODEL.WSSS.TOPK",
            after,
            before,
        )


@torch.no_grad()
def encode(clip: CLIP, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Embeddings (n, E) float32 of unit length. Raises `VocabularyError` for a text that is too long."""
    tokens = tokenizer(texts).to(clip.text_projection.device)
    with torch.autocast(tokens.device.type, enabled=False):
        parts = [clip.encode_text(part).float() for part in tokens.split(_CHUNK)]
    return F.normalize(torch.cat(parts), dim=-1)


def _likeness(texts: Tensor) -> float:
    unit = F.normalize(texts, dim=-1)
    count = len(unit)
    return float(((unit @ unit.T).sum() - count) / (count * (count - 1)))


def _key(clip: CLIP, spec: PriorWSSSSpec, described: Described) -> str:
    weights = {
        name: parameter
        for name, parameter in clip.named_parameters()
        if not name.startswith(("visual.", "logit_scale"))
    }
    options = [spec.template, spec.clusters, spec.topk, spec.text_weight, spec.restarts]
    facts = [weights_digest(weights), described.digest, described.names, described.descriptions, options]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
