"""TPE: class texts, enriched by the centroids of a knowledge base (equations 1 to 4).

Shapes: n text, T foreground class, E embedding.
"""

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
from rskt_seg.encoders.text import Tokenizer, cut_padding, prompts
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.models.wsss.knowledge import PACKAGED, TINY, find_packaged, read_knowledge
from rskt_seg.models.wsss.prototypes import cluster_texts, enrich_texts
from rskt_seg.models.wsss.spec import PriorWSSSSpec
from rskt_seg.writing import replacing

logger = logging.getLogger(__name__)

_CHUNK = 64
"""Texts that are encoded at once."""
_MAX_COSINE_GAIN = 0.1
"""Increase of the mean cosine between classes from which the enrichment is warned of."""


class ClassDescriptions(NamedTuple):
    """Input of TPE for the T foreground classes.

    Attributes:
        names: How the prompt calls the classes.
        descriptions: Descriptions of all classes, class by class, the same number for each; empty without
            TPE.
        digest: sha256 of the description file, "" without one.
        source: Name or path of the description file, "" without one.
    """

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    digest: str
    source: str


class ReadOnce:
    """Whether a tensor has a value other than 0: read from its device once for every change.

    PyTorch does not count writes through `tensor.data` as changes.
    """

    def __init__(self) -> None:
        self._known: tuple[int, int] | None = None

    def has_values(self, tensor: Tensor) -> bool:
        """Return whether any value is not 0."""
        if tensor.is_inference():  # whose changes are not counted
            return bool(tensor.any().cpu())
        seen = (tensor.data_ptr(), tensor._version)
        if seen != self._known:
            if not bool(tensor.any().cpu()):
                return False
            self._known = seen
        return True


def describe_classes(spec: PriorWSSSSpec, names: Sequence[str]) -> ClassDescriptions:
    """Return the descriptions of the classes `names`, in their order.

    Args:
        spec: Options of the model: its description file, and whether TPE is on.
        names: T class names.

    Returns:
        Names and descriptions; without a description file, lower-case names and no descriptions.

    Raises:
        ConfigError: If the description file cannot be used or lacks a class, or if TPE is on and no packaged
            file describes these classes.
    """
    knowledge = read_knowledge(spec.descriptions) if spec.descriptions else find_packaged(names)
    if knowledge is None:
        if spec.tpe:
            packaged = ", ".join(name for name in PACKAGED if name not in TINY)
            raise ConfigError(
                f"no packaged description file ({packaged}) describes all of {', '.join(names)}: "
                "write one (docs/weak_supervision.md) and pass it as descriptions "
                "(MODEL.WSSS.DESCRIPTIONS), or disable the enrichment with tpe=False (MODEL.WSSS.TPE False)"
            )
        return ClassDescriptions(tuple(name.lower() for name in names), (), "", "")
    logger.info("Class descriptions are read from %s", knowledge.source)
    for notice in knowledge.notices:
        logger.warning("%s", notice)
    classes = knowledge.for_classes(names)
    lines = [line for each in classes for line in each.descriptions] if spec.tpe else []
    prompt_names = tuple(each.name for each in classes)
    return ClassDescriptions(prompt_names, tuple(lines), knowledge.digest, knowledge.source)


def check_tokens(described: ClassDescriptions, tokenizer: Tokenizer) -> None:
    """Check that the text encoder reads every description completely.

    Args:
        described: Names and descriptions of the classes.
        tokenizer: Tokenizer of the text tower.

    Raises:
        ConfigError: If a description has too many tokens, or words that the encoder does not know; the
            message names file and class.
    """
    for position, text in enumerate(described.descriptions):
        name = described.names[position * len(described.names) // len(described.descriptions)]
        where = f"{described.source}, class {name!r}"
        if (count := tokenizer.length(text)) > tokenizer.context_length:
            raise ConfigError(
                f"{where}: the text encoder reads at most {tokenizer.context_length} tokens; found {count}: "
                f"shorten {text!r}"
            )
        try:
            tokenizer([text])
        except VocabularyError as error:
            raise ConfigError(f"{where}: {error}") from None


def encode_class_texts(
    clip: CLIP,
    tokenizer: Tokenizer,
    spec: PriorWSSSSpec,
    described: ClassDescriptions,
    cache: Path | None = None,
) -> Tensor:
    """Encode the class names and, if `spec.tpe`, enrich them by the descriptions.

    With TPE the mean cosine between the classes, before and after, is logged.

    Args:
        clip: Its text tower encodes.
        tokenizer: Tokenizer of the text tower.
        spec: Options of the prompt and of the enrichment.
        described: Names and descriptions of the classes.
        cache: Folder that keeps enriched texts, in a file whose name depends on everything they depend on:
            the descriptions, the weights of the text tower, and the options. None: no cache.

    Returns:
        (T, E) float32, of unit length without TPE only.

    Raises:
        ConfigError: If a description cannot be encoded, or there are too few.
        VocabularyError: If a class name cannot be encoded.
    """
    base = encode_texts(clip, tokenizer, prompts(described.names, [spec.template]))
    if not spec.tpe:
        return base
    check_tokens(described, tokenizer)
    file = None if cache is None else Path(cache, f"class_texts_{_cache_key(clip, spec, described)}.npy")
    if file is not None and file.is_file():
        texts = torch.from_numpy(np.load(file, allow_pickle=False)).to(base.device)
    else:
        knowledge = encode_texts(clip, tokenizer, described.descriptions)
        centroids = cluster_texts(knowledge, spec.clusters, spec.restarts).to(base)
        texts = enrich_texts(base, centroids, spec.topk, spec.text_weight).texts
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as partial, open(partial, "wb") as stream:
                np.save(stream, texts.cpu().numpy())
    _log_cosines(base, texts)
    return texts


@torch.no_grad()
def encode_texts(clip: CLIP, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Encode texts in chunks, without autocast.

    Args:
        clip: Its text tower encodes.
        tokenizer: Tokenizer of the text tower.
        texts: N texts.

    Returns:
        Embeddings (n, E) float32, of unit length.

    Raises:
        VocabularyError: If a text is too long for the text tower.
    """
    device = clip.text_projection.device
    tokens = [cut_padding(chunk).to(device) for chunk in tokenizer(texts).split(_CHUNK)]
    with torch.autocast(device.type, enabled=False):
        chunks = [clip.encode_text(chunk).float() for chunk in tokens]
    return F.normalize(torch.cat(chunks), dim=-1)


def _log_cosines(base: Tensor, texts: Tensor) -> None:
    """Log how similar the classes are; an enrichment that is too strong adds nearly the same to all."""
    if len(base) == 1:
        return
    before, after = _mean_cosine(base), _mean_cosine(texts)
    logger.info("Mean cosine between classes: %.3f by name, %.3f enriched", before, after)
    if after - before > _MAX_COSINE_GAIN:
        logger.warning(
            "The enrichment makes classes similar (mean cosine %.3f, was %.3f): reduce "
            "MODEL.WSSS.TEXT_WEIGHT or MODEL.WSSS.TOPK",
            after,
            before,
        )


def _mean_cosine(texts: Tensor) -> float:
    """Return the mean cosine over all pairs of different texts."""
    unit = F.normalize(texts, dim=-1)
    count = len(unit)
    return float(((unit @ unit.T).sum().cpu() - count) / (count * (count - 1)))


def _cache_key(clip: CLIP, spec: PriorWSSSSpec, described: ClassDescriptions) -> str:
    weights = {
        name: parameter
        for name, parameter in clip.named_parameters()
        if not name.startswith(("visual.", "logit_scale"))
    }
    options = [spec.template, spec.clusters, spec.topk, spec.text_weight, spec.restarts]
    facts = [weights_digest(weights), described.digest, described.names, described.descriptions, options]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
