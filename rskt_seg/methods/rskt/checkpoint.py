"""Checkpoints of RSKT-Seg and weights of its encoders.

Maps the layout of the published code (`model_final.pth`) to the names of `rskt_seg.models.rskt.RSKT`.
"""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

import torch
from torch import Tensor

from rskt_seg.checkpoints import clip, dino
from rskt_seg.checkpoints.rules import LoadReport, Rule, convert, load_strict
from rskt_seg.errors import CheckpointError
from rskt_seg.methods.layout import OTHER_ENCODER, CheckpointLayout
from rskt_seg.methods.record import EncoderRole
from rskt_seg.models.cost_volumes.original import WindowBlock
from rskt_seg.models.rskt import RSKT

_ROOT = r"sem_seg_head\.predictor\."
_HEAD = _ROOT + r"transformer\."
_WINDOWS = _HEAD + r"layers\.(\d+)\.swin_block\."
_MASK = _HEAD + r"layers\.(\d+)\.swin_block\.block_2\.attn_mask$"
_OLD_LAYER, _NEW_LAYER = rf"{_HEAD}layers\.(\d+)\.", r"layers.\1."
_LAYER_RULES = [
    Rule(_OLD_LAYER + r"spatial_fusion\.sa\.mlp\.dwconv\.dwconv\.", _NEW_LAYER + "spatial.dwconv."),
    Rule(_OLD_LAYER + r"spatial_fusion\.sa\.", _NEW_LAYER + "spatial."),
    Rule(_OLD_LAYER + r"class_fusion\.sa\.", _NEW_LAYER + "classes."),
    Rule(_MASK, None, "recomputed from the window geometry and equal to it"),
    Rule(_OLD_LAYER + r"swin_block\.(block_[12])\.mlp\.fc1\.", _NEW_LAYER + r"spatial.\2.mlp.0."),
    Rule(_OLD_LAYER + r"swin_block\.(block_[12])\.mlp\.fc2\.", _NEW_LAYER + r"spatial.\2.mlp.2."),
    Rule(_OLD_LAYER + r"swin_block\.", _NEW_LAYER + "spatial."),
    Rule(_OLD_LAYER + r"attention\.MLP\.", _NEW_LAYER + "classes.mlp."),
    Rule(_OLD_LAYER + r"attention\.attention\.", _NEW_LAYER + "classes."),
    Rule(_OLD_LAYER + r"attention\.", _NEW_LAYER + "classes."),
]
"""Rules for the aggregation layers, of SET and CET and of the "original" aggregator."""


class RSKTLayout(CheckpointLayout):
    """Checkpoints of this package and of the published code."""

    training_only = ("padding", "class_chunk", "clip_finetune", "dino_finetune", "mask_ignored")
    output_key = "decoder.head.weight"

    def is_published(self, keys: Set[str]) -> bool:
        """See `CheckpointLayout.is_published`."""
        return any(key.startswith("sem_seg_head.predictor.") for key in keys)

    def published_rules(self, model: RSKT, state: Mapping[str, Tensor], source: str) -> Sequence[Rule]:
        """See `CheckpointLayout.published_rules`.

        Raises:
            CheckpointError: The checkpoint was trained with another window size.
        """
        _check_masks(model, state, source)
        return rules_for(model)


def _guides(encoder: str, sides: tuple[str, str], projection: str) -> list[Rule]:
    rules = [Rule(rf"{side}\.", f"guides.{encoder}.{j}.side.") for j, side in enumerate(sides)]
    return [*rules, Rule(rf"{_HEAD}{projection}\.(\d)\.0\.", rf"guides.{encoder}.\1.project.")]


def _stage(j: int) -> list[Rule]:
    old, new = rf"{_HEAD}Fusiondecoder{j + 1}\.", f"decoder.stages.{j}."
    parts = {0: "conv1", 1: "norm1", 3: "conv2", 4: "norm2"}
    convs = [Rule(rf"{old}conv\.double_conv\.{i}\.", f"{new}{name}.") for i, name in parts.items()]
    return [Rule(rf"{old}up\.", f"{new}up."), *convs]


def rules_for(model: RSKT) -> list[Rule]:
    """Return the rules from the published names to those of a model.

    RemoteCLIP blocks that the model does not have are dropped.
    """
    blocks = len(model.remote_clip.transformer.resblocks) if model.spec.remote_clip else 0
    return [
        Rule(_ROOT + r"clip_model\.", "clip."),
        *(_of_remote_clip(rule) for rule in clip.trunk_rules(blocks)),
        Rule(_HEAD + r"conv1\.", "cost.fusion.clip."),
        Rule(_HEAD + r"conv2\.", "cost.fusion.dino."),
        Rule(_HEAD + r"fusion_corr\.", "cost.fusion.both."),
        *_LAYER_RULES,
        Rule(_HEAD + r"guidance_projection\.0\.", "image_guidance."),
        Rule(_HEAD + r"text_guidance_projection\.0\.", "text_guidance."),
        *_guides("clip", ("upsample1", "upsample2"), "CLIP_decoder_guidance_projection"),
        *_guides(
            "remote_clip", ("upsample1_remote", "upsample2_remote"), "CLIP_decoder_guidance_projection_remote"
        ),
        *_guides("dino", ("dino_decod_proj1", "dino_decod_proj2"), "DINO_decoder_guidance_projection"),
        *_stage(0),
        *_stage(1),
        Rule(_HEAD + r"head\.", "decoder.head."),
        Rule(r"dino_down_sample\.", "dino_to_text."),
        Rule(r"dino_model\.", "dino."),
    ]


def _of_remote_clip(rule: Rule) -> Rule:
    """Return a rule of `clip.trunk_rules` with the prefixes that RemoteCLIP has in whole checkpoints."""
    to = rule.to
    if isinstance(to, str):
        to = f"remote_clip.{to}"
    elif to is not None:
        to = tuple(f"remote_clip.{name}" for name in to)
    return replace(rule, pattern=_ROOT + r"clip_model_remote\." + rule.pattern, to=to)


def _check_masks(model: RSKT, state: Mapping[str, Tensor], source: str) -> None:
    """Raise `CheckpointError` if the window masks of a checkpoint differ from those of the model.

    The mask of the shifted windows is the only trace of the window size in a checkpoint. Layers that only one
    side has are left to strict loading.
    """
    stored = {match[1]: mask for key, mask in state.items() if (match := re.match(_MASK, key))}
    layers = {match[1] for key in state if (match := re.match(_WINDOWS, key))}
    for number, layer in enumerate(model.layers):
        blocks = [block for block in layer.modules() if isinstance(block, WindowBlock)]
        if not blocks or str(number) not in layers:
            continue
        own, mask = blocks[-1].attn_mask, stored.get(str(number))
        if own is None or mask is None:
            same = own is mask
        else:
            same = own.shape == mask.shape and torch.equal(own.cpu(), mask)
        if not same:
            raise CheckpointError(
                f"{source}: layer {number} was trained with another window size than window="
                f"{model.spec.window} of this model; build the model with the window size of the checkpoint"
            )


def _load_clip(model: RSKT, state: Mapping[str, Tensor], source: str) -> LoadReport:
    report = LoadReport(source)
    # The published code rounds the weights in the same way.
    named = clip.round_through_half(clip.normalise_names(state))
    load_strict(model.clip, convert(named, clip.RULES, report), source, OTHER_ENCODER)
    return report


def _load_remote_clip(model: RSKT, state: Mapping[str, Tensor], source: str) -> LoadReport:
    report = LoadReport(source)
    named = clip.round_through_half(clip.normalise_names(state))
    rules = clip.trunk_rules(len(model.remote_clip.transformer.resblocks))
    load_strict(model.remote_clip, convert(named, rules, report), source, OTHER_ENCODER)
    return report


def _load_dino(model: RSKT, state: Mapping[str, Tensor], source: str) -> LoadReport:
    report = LoadReport(source)
    load_strict(model.dino, convert(dino.normalise_names(state), dino.RULES, report), source, OTHER_ENCODER)
    return report


ENCODERS = {
    "clip": EncoderRole(
        _load_clip,
        "CLIP: OpenAI's ViT-B-16.pt (or ViT-L-14-336px.pt for that model), or an open_clip name such as "
        "ViT-B-16/openai, which is fetched",
        named=True,
    ),
    "remote_clip": EncoderRole(
        _load_remote_clip,
        "RemoteCLIP: RemoteCLIP-ViT-B-32.pt from the RemoteCLIP authors (chendelong/RemoteCLIP)",
        used=lambda spec: spec.remote_clip,
        named=True,
    ),
    "dino": EncoderRole(
        _load_dino,
        "RS-DINO: RSIB.pth from the GSNet authors (yecy749/GSNet)",
        used=lambda spec: spec.dino,
    ),
}
