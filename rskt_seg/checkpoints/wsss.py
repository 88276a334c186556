"""Checkpoints of the weakly supervised method, which may leave out the encoders that never train."""

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from rskt_seg.checkpoints.files import WeightFile
from rskt_seg.digests import weights_digest
from rskt_seg.errors import CheckpointError

logger = logging.getLogger(__name__)

TRAINING_ONLY = (
    "descriptions",
    "restarts",
    "dropout",
    "seed_percent",
    "momentum",
    "seg_loss",
    "seg_weight",
    "affinity_weight",
    "radius",
)
"""Options that change nothing of what a trained model computes (its texts are part of its state), so that a
checkpoint may differ in them."""


def check_classes(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Raise `CheckpointError` where `state`, under this package's names, has another number of classes."""
    own, given = (tensors.get("decoder.classifier.weight") for tensors in (model.state_dict(), state))
    if own is not None and given is not None and len(own) != len(given):
        raise CheckpointError(
            f"{source} was trained on {len(given)} classes, this model has {len(own)}; build it with the "
            "classes of its data"
        )


def frozen_parts(model: nn.Module, sources: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What a checkpoint states about parts that it leaves out: of each, where it came from and its digest."""
    return {
        part: {"source": source, "digest": weights_digest(getattr(model, part).state_dict())}
        for part, source in sources.items()
    }


def check_frozen(model: nn.Module, weights: WeightFile, source: str) -> None:
    """Raise `CheckpointError` unless the parts that a checkpoint left out are in `model`, the very same."""
    for part, stated in weights.frozen.items():
        module = getattr(model, part, None)
        if module is None or weights_digest(module.state_dict()) != stated["digest"]:
            raise CheckpointError(
                f"{source} holds what was trained alone; its frozen {part} was {stated['source']}, and the "
                f"model has another: load that first, load_encoder(model, {part!r}, {stated['source']!r}), "
                f"or set MODEL.ENCODERS.{part.upper()} to it"
            )


def tell_unread(model: nn.Module, weights: WeightFile, source: str) -> None:
    """Warn where a model was given descriptions of its own, which a checkpoint with its texts makes void."""
    asked = getattr(getattr(model, "spec", None), "descriptions", "")
    stated = (weights.options or {}).get("descriptions", asked)
    if asked and asked != stated:
        logger.warning(
            "%s has the texts that it was trained with, by the descriptions of %s; %s is not read: other "
            "descriptions want a training of their own",
            source,
            stated or "a packaged file",
            asked,
        )


def own_frozen(model: nn.Module, weights: WeightFile) -> dict[str, Tensor]:
    """The tensors of `model` for the parts that a checkpoint left out."""
    parts = {part: getattr(model, part).state_dict() for part in weights.frozen}
    return {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}
