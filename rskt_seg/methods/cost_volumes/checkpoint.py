"""Checkpoints of models of cost volumes.

Maps the layouts of the published codes (`model_final.pth`) to the names of
`rskt_seg.models.cost_volumes.CostVolumeModel`. The codes have one origin and differ in two names.
"""

import re
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rskt_seg.checkpoints.rules import Rule
from rskt_seg.errors import CheckpointError
from rskt_seg.methods.layout import CheckpointLayout
from rskt_seg.models.cost_volumes import CostVolumeModel
from rskt_seg.models.cost_volumes.original import WindowBlock

PREDICTOR = r"sem_seg_head\.predictor\."
HEAD = PREDICTOR + r"transformer\."
_WINDOWS = HEAD + r"layers\.(\d+)\.swin_block\."
_MASK = HEAD + r"layers\.(\d+)\.swin_block\.block_2\.attn_mask$"
_OLD_LAYER, _NEW_LAYER = rf"{HEAD}layers\.(\d+)\.", r"layers.\1."
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
"""Rules for the aggregation layers: SET and CET of RSKT-Seg, and the "original" ones of all."""


class Names(NamedTuple):
    """The names in which published codes differ.

    Attributes:
        guides: Projections of CLIP's guides of the upsampler.
        stage: Upsampling stages, without their number.
    """

    guides: str
    stage: str


SHORT = Names("decoder_guidance_projection", "decoder")
"""Names of codes with the guides of CLIP alone."""
LONG = Names("CLIP_decoder_guidance_projection", "Fusiondecoder")
"""Names of codes with the guides of several encoders."""


class CostVolumeLayout(CheckpointLayout):
    """Base of the layouts of models of cost volumes: this package's, and those of the published codes.

    Attributes:
        names: Names of the published code.
    """

    output_key = "decoder.head.weight"
    training_only: tuple[str, ...] = ("clip_finetune", "mask_ignored", "pooling")
    evaluation_only: tuple[str, ...] = ("padding", "class_chunk", "test_pooling")
    names: Names

    def is_published(self, keys: Set[str]) -> bool:
        """See `CheckpointLayout.is_published`: told by the names of the stages; a part of a file may do."""
        own, other = self.names, SHORT if self.names is LONG else LONG
        return uses(own, keys) or (
            not uses(other, keys) and any(key.startswith("sem_seg_head.predictor.") for key in keys)
        )

    def published_rules(self, model: Any, state: Mapping[str, Tensor], source: str) -> Sequence[Rule]:
        """See `CheckpointLayout.published_rules`.

        Raises:
            CheckpointError: The checkpoint was trained with another window size.
        """
        _check_masks(model, state, source)
        return common_rules(self.names)


def uses(names: Names, keys: Collection[str]) -> bool:
    """Return whether one of the keys is a stage of the upsampler under these names."""
    stage = re.compile(rf"{HEAD}{names.stage}[12]\.")
    return any(stage.match(key) for key in keys)


def cost_maps_of(state: Mapping[str, Tensor]) -> int | None:
    """Return the number of CLIP's cost maps that a published checkpoint embeds; None if it does not say."""
    weight = state.get("sem_seg_head.predictor.transformer.conv1.weight")
    return None if weight is None else weight.shape[1]


def guide_rules(encoder: str, sides: tuple[str, str], projection: str) -> list[Rule]:
    """Return the rules for the guides of one encoder.

    Args:
        encoder: Its name in `CostVolumeModel.guides`.
        sides: Published names of what resizes its taps.
        projection: Published name of the projections in the head.

    Returns:
        The rules.
    """
    rules = [Rule(rf"{side}\.", f"guides.{encoder}.{j}.side.") for j, side in enumerate(sides)]
    return [*rules, Rule(rf"{HEAD}{projection}\.(\d)\.0\.", rf"guides.{encoder}.\1.project.")]


def _stage_rules(stage: str, j: int) -> list[Rule]:
    old, new = rf"{HEAD}{stage}{j + 1}\.", f"decoder.stages.{j}."
    parts = {0: "conv1", 1: "norm1", 3: "conv2", 4: "norm2"}
    convs = [Rule(rf"{old}conv\.double_conv\.{i}\.", f"{new}{name}.") for i, name in parts.items()]
    return [Rule(rf"{old}up\.", f"{new}up."), *convs]


def common_rules(names: Names) -> list[Rule]:
    """Return the rules for CLIP and for what turns its cost volume into logits.

    Args:
        names: Names of the published code.

    Returns:
        Rules to the names of `CostVolumeModel`, in any order.
    """
    return [
        Rule(PREDICTOR + r"clip_model\.", "clip."),
        Rule(HEAD + r"conv1\.", "cost.fusion.clip."),
        *_LAYER_RULES,
        Rule(HEAD + r"guidance_projection\.0\.", "image_guidance."),
        Rule(HEAD + r"text_guidance_projection\.0\.", "text_guidance."),
        *guide_rules("clip", ("upsample1", "upsample2"), names.guides),
        *_stage_rules(names.stage, 0),
        *_stage_rules(names.stage, 1),
        Rule(HEAD + r"head\.", "decoder.head."),
    ]


def dino_rules() -> list[Rule]:
    """Return the rules for DINO, its cost volume in a separate fusion, and its guides."""
    return [
        Rule(HEAD + r"conv2\.", "cost.fusion.dino."),
        Rule(HEAD + r"fusion_corr\.", "cost.fusion.both."),
        *guide_rules("dino", ("dino_decod_proj1", "dino_decod_proj2"), "DINO_decoder_guidance_projection"),
        Rule(r"dino_down_sample\.", "dino_to_text."),
        Rule(r"dino_model\.", "dino."),
    ]


def _check_masks(model: CostVolumeModel, state: Mapping[str, Tensor], source: str) -> None:
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
                f"{blocks[-1].window} of this model; build the model with the window size of the checkpoint"
            )
