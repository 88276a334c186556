"""The layout of the published RSKT-Seg checkpoints (`model_final.pth`) -> this package's names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn

from rskt_seg.checkpoints.clip import trunk_rules
from rskt_seg.checkpoints.rules import Rule
from rskt_seg.errors import CheckpointError

_ROOT = r"sem_seg_head\.predictor\."
_HEAD = _ROOT + r"transformer\."
_WINDOWS = _HEAD + r"layers\.(\d+)\.swin_block\."
FREE = ("padding", "class_chunk", "clip_finetune", "dino_finetune", "mask_ignored")
_MASK = _HEAD + r"layers\.(\d+)\.swin_block\.block_2\.attn_mask$"


def is_published(keys: set[str]) -> bool:
    """Whether these are key names of the published code."""
    return any(key.startswith("sem_seg_head.predictor.") for key in keys)


def _guides(encoder: str, sides: tuple[str, str], projection: str) -> list[Rule]:
    rules = [Rule(rf"{side}\.", f"guides.{encoder}.{j}.side.") for j, side in enumerate(sides)]
    return [*rules, Rule(rf"{_HEAD}{projection}\.(\d)\.0\.", rf"guides.{encoder}.\1.project.")]


def _stage(j: int) -> list[Rule]:
    old, new = rf"{_HEAD}Fusiondecoder{j + 1}\.", f"decoder.stages.{j}."
    parts = {0: "conv1", 1: "norm1", 3: "conv2", 4: "norm2"}
    convs = [Rule(rf"{old}conv\.double_conv\.{i}\.", f"{new}{name}.") for i, name in parts.items()]
    return [Rule(rf"{old}up\.", f"{new}up."), *convs]


def _layer() -> list[Rule]:
    old, new = rf"{_HEAD}layers\.(\d+)\.", r"layers.\1."
    return [
        Rule(old + r"spatial_fusion\.sa\.mlp\.dwconv\.dwconv\.", new + "spatial.dwconv."),
        Rule(old + r"spatial_fusion\.sa\.", new + "spatial."),
        Rule(old + r"class_fusion\.sa\.", new + "classes."),
        Rule(_MASK, None, "recomputed from the window geometry, and found equal"),
        Rule(old + r"swin_block\.(block_[12])\.mlp\.fc1\.", new + r"spatial.\2.mlp.0."),
        Rule(old + r"swin_block\.(block_[12])\.mlp\.fc2\.", new + r"spatial.\2.mlp.2."),
        Rule(old + r"swin_block\.", new + "spatial."),
        Rule(old + r"attention\.MLP\.", new + "classes.mlp."),
        Rule(old + r"attention\.attention\.", new + "classes."),
        Rule(old + r"attention\.", new + "classes."),
    ]


def rules_for(model: nn.Module) -> list[Rule]:
    """Rules for one model; how many RemoteCLIP blocks it keeps decides which are dropped."""
    remote = getattr(model, "remote_clip", None)
    blocks = len(remote.transformer.resblocks) if remote is not None else 0
    return [
        Rule(_ROOT + r"clip_model\.", "clip."),
        *(_prefixed(rule) for rule in trunk_rules(blocks)),
        Rule(_HEAD + r"conv1\.", "cost.fusion.clip."),
        Rule(_HEAD + r"conv2\.", "cost.fusion.dino."),
        Rule(_HEAD + r"fusion_corr\.", "cost.fusion.both."),
        *_layer(),
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


def _prefixed(rule: Rule) -> Rule:
    prefix = _ROOT + r"clip_model_remote\."
    to = None
    if rule.to is not None:
        to = (
            "remote_clip." + rule.to
            if isinstance(rule.to, str)
            else tuple("remote_clip." + t for t in rule.to)
        )
    return Rule(prefix + rule.pattern, to, rule.reason, rule.split)


def check_masks(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Raise `CheckpointError` where the window masks of a checkpoint are not those this model computes.

    The mask of the shifted windows is the only trace that the window size leaves in a checkpoint. Layers
    that one side lacks altogether are left to strict loading.
    """
    stored = {match[1]: mask for key, mask in state.items() if (match := re.match(_MASK, key))}
    layers = {match[1] for key in state if (match := re.match(_WINDOWS, key))}
    for number, layer in enumerate(getattr(model, "layers", ())):
        blocks = [block for block in layer.modules() if hasattr(block, "attn_mask")]
        if not blocks or str(number) not in layers:
            continue
        own, mask = blocks[-1].attn_mask, stored.get(str(number))
        same = mask is None if own is None else mask is not None and own.shape == mask.shape
        if not same or (own is not None and not torch.equal(own.cpu(), mask)):
            raise CheckpointError(
                f"{source}: layer {number} was trained with another window size; set the option window to it"
            )


def check_options(
    model: nn.Module, options: Mapping[str, object] | None, source: str, free: Sequence[str] = FREE
) -> None:
    """Raise `CheckpointError` where a checkpoint states other options than those of `model`.

    Several options leave no trace in the weights (heads, templates, attention, loss); only those that
    change what a trained model computes are compared, not those named in `free`.
    """
    spec = getattr(model, "spec", None)
    if options is None or spec is None:
        return
    own = {key: value for key, value in asdict(spec).items() if key not in free}
    stated = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    other = {key: stated[key] for key, value in own.items() if key in stated and stated[key] != value}
    if other:
        listed = ", ".join(f"{key}={value!r} (this model: {own[key]!r})" for key, value in other.items())
        raise CheckpointError(
            f"{source} was saved from a model with {listed}; build the model with these options"
        )
