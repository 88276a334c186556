"""`load_checkpoint` for whole models, `load_encoder` for one pretrained encoder."""

import os
from collections.abc import Mapping

from torch import nn

from rskt_seg.checkpoints import bicor, clip, dino, dinov2, fctl, rskt, wsss
from rskt_seg.checkpoints.files import WeightFile, read_weights, unwrap
from rskt_seg.checkpoints.hub import locate
from rskt_seg.checkpoints.rules import LoadReport, Rule, convert, load_strict
from rskt_seg.errors import CheckpointError

# What distributed training and Detectron2 put before the names of the plain model.
_PREFIX = r"(module\.)?(sem_seg_head\.model\.)?(?=.)"
_BUILD = (
    "Build the model with the options the checkpoint was trained with "
    "(number of classes, number of layers, components)"
)
_ROLES = ("clip", "remote_clip", "dino", "dinov2", "convnext")


def load_checkpoint(
    model: nn.Module,
    source: str | os.PathLike | Mapping[str, object],
    contexts: Mapping[str, str | os.PathLike | Mapping[str, object]] | None = None,
) -> LoadReport:
    """Load a whole trained model, strictly.

    `source`: a file (see `rskt_seg.checkpoints.files.read_weights`), or a state dict or checkpoint in memory,
    with this package's names (with or without Detectron2's prefix) or those of the published RSKT-Seg,
    BiCoR-Seg or FCtL code. Parts that nothing reads are dropped and listed. `contexts`: the files of a
    published FCtL's context encoders by name (see `rskt_seg.checkpoints.fctl.load_published`). A closed-set
    model without class names takes those that the checkpoint states. Frozen encoders that a checkpoint leaves
    out (see `rskt_seg.checkpoints.wsss`) must be loaded before.

    Raises `CheckpointError` unless every tensor of the model is given once in its shape and nothing is
    left over, and where the checkpoint states other options or class names than the model's; the model is
    then unchanged.
    """
    name, weights = _weights(source)
    check_stated(model, weights, name)
    report = _load(model, weights, name, contexts)
    if getattr(model, "class_names", ()) is None:
        model.class_names = weights.class_names
    return report


def check_stated(model: nn.Module, weights: WeightFile, source: str) -> None:
    """Raise `CheckpointError` where a checkpoint states other options, class names or frozen encoders than
    those of the model.

    Options that change nothing of what a trained model computes may differ. A description file that is not
    read because the texts of the checkpoint count is told by a warning.
    """
    own, stated = getattr(model, "class_names", None), weights.class_names
    if own is not None and stated is not None and own != stated:
        raise CheckpointError(
            f"{source} was trained on the classes {', '.join(stated)}; this model was built for "
            f"{', '.join(own)}: build it with those of the checkpoint; a configuration takes them from the "
            "data that it trains on (DATASETS.TRAIN, with DATASETS.OWN for data of your own)"
        )
    free = (*rskt.FREE, *bicor.TRAINING_ONLY, *fctl.TRAINING_ONLY, *wsss.TRAINING_ONLY)
    rskt.check_options(model, weights.options, source, free)
    wsss.check_frozen(model, weights, source)
    wsss.tell_unread(model, weights, source)


def _load(
    model: nn.Module, weights: WeightFile, name: str, contexts: Mapping[str, object] | None
) -> LoadReport:
    if fctl.is_published(set(weights.state)):
        return fctl.load_published(model, weights.state, contexts, name)
    if contexts:
        raise CheckpointError(
            f"{name} is no published FCtL checkpoint, so contexts have no place; leave them out"
        )
    rules = [Rule(_PREFIX, "")]
    if rskt.is_published(set(weights.state)):
        rskt.check_masks(model, weights.state, name)
        rules = rskt.rules_for(model)
    elif bicor.is_published(set(weights.state)):
        rules = bicor.rules_for(model)
    report = LoadReport(name)
    state = convert(weights.state, rules, report) | wsss.own_frozen(model, weights)
    for method in (bicor, fctl, wsss):
        method.check_classes(model, state, name)
    load_strict(model, state, name, _BUILD)
    return report


def load_encoder(model: nn.Module, role: str, source: str | os.PathLike | Mapping[str, object]) -> LoadReport:
    """Load one pretrained encoder: `role` is "clip", "remote_clip" or "dino" of an RSKT model, "convnext" of
    a BiCoR model, "local", "medium" or "large" of an FCtL (see `rskt_seg.checkpoints.fctl.load_encoder`), or
    "clip" or "dinov2" of a weakly supervised model.

    `source`: a file or a state dict; for the CLIP roles also an open_clip name "MODEL/TAG" such as
    "ViT-B-16/openai", a hub repository "hf-hub:ORGANISATION/NAME" in open_clip's layout, or "tiny", the small
    CLIP that comes with the package. The towers compute QuickGELU, as OpenAI's and RemoteCLIP's weights
    need; names whose weights were trained with GELU are refused, files cannot be told apart. CLIP
    weights are rounded through half precision where the published loader does it; they may have the names of
    OpenAI and open_clip or those of transformers' CLIPModel. DINOv2 weights are Meta's or timm's, without
    register tokens; their mask token is dropped. ConvNeXt weights may have torchvision's names or timm's;
    their classifier is dropped.

    Raises `CheckpointError` for an encoder of another architecture or an incomplete file,
    `WeightsNotFoundError` for a missing one.
    """
    if hasattr(model, "context_encoders"):
        return fctl.load_encoder(model, role, source)
    if role not in _ROLES:
        raise CheckpointError(f"role must be one of {', '.join(_ROLES)}; found {role!r}")
    module = getattr(model, role, None)
    if module is None:
        raise CheckpointError(f"this model was built without {role}; there is nothing to load {source} into")
    if role in ("clip", "remote_clip") and not isinstance(source, Mapping):
        source = locate(str(source))
    name, weights = _weights(source)
    report = LoadReport(name)
    if role == "dino":
        state = convert(dino.normalise_names(weights.state), dino.RULES, report)
    elif role == "dinov2":
        dinov2.check_layout(weights.state, name)
        state = convert(dino.normalise_names(weights.state), dinov2.RULES, report)
    elif role == "convnext":
        state = convert(weights.state, bicor.ENCODER_RULES, report)
    else:
        rules = clip.RULES if role == "clip" else clip.trunk_rules(len(module.transformer.resblocks))
        state, weak = clip.normalise_names(weights.state), hasattr(model, "text_enriched")
        # As RSKT-Seg's published code loads CLIP; the weakly supervised method takes the weights as they are.
        state = convert(state if weak else clip.round_through_half(state), rules, report)
        if weak:
            model.text_enriched.zero_()  # texts of another CLIP: `encode_classes` makes them anew
    load_strict(
        module, state, name, f"The model's {role} has another architecture: choose the file that fits it"
    )
    return report


def _weights(source: str | os.PathLike | Mapping[str, object]) -> tuple[str, WeightFile]:
    if isinstance(source, Mapping):
        return "state dict", unwrap(source, "state dict")
    return str(source), read_weights(source)
