"""Key names of CLIP weights (OpenAI, open_clip, RemoteCLIP, transformers) -> those of this package."""

from collections.abc import Mapping, Set

import torch
from torch import Tensor

from rskt_seg.checkpoints.rules import LoadReport, Rule, convert

_NO_TEXT = "the text tower of RemoteCLIP is never used"
_UNUSED = "RemoteCLIP stops after its last tapped block"
_SPLIT = tuple(rf"\1{part}_proj_weight" for part in "qkv")

RULES = (
    Rule(
        r"(input_resolution|context_length|vocab_size|attn_mask|\w+_model\.embeddings\.position_ids)$",
        None,
        "a size or mask, not a weight",
    ),
    Rule(r"(.*\.attn\.)in_proj_weight$", _SPLIT, split=lambda tensor: tensor.chunk(3)),
)
"""OpenAI's names -> those of this package: packed q/k/v matrices are split, sizes and masks dropped."""


def trunk_rules(blocks: int) -> tuple[Rule, ...]:
    """Return the rules from OpenAI's names to a vision trunk alone, the only part in use of RemoteCLIP.

    Args:
        blocks: Number of transformer blocks of the trunk, counted from the input.
    """
    unused = "|".join(rf"resblocks\.{i}\." for i in range(blocks, 64))
    return (
        RULES[0],
        Rule(rf"visual\.(transformer\.({unused})|ln_post\.|proj$)", None, _UNUSED),
        Rule(r"visual\.(.*\.attn\.)in_proj_weight$", _SPLIT, split=lambda tensor: tensor.chunk(3)),
        Rule(r"visual\.", ""),
        Rule(r".*", None, _NO_TEXT),
    )


def round_through_half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round the weights that OpenAI's loader keeps in half precision, and return all as float32.

    The loader converts convolutions, linear and attention layers and both projections to float16 before
    loading, so that float32 files (RemoteCLIP) lose digits; OpenAI's files are float16 already. Norms and
    the token, position and class embeddings keep their precision.

    Args:
        state: State dict under OpenAI's names.

    Returns:
        A new state dict of float32 tensors.
    """
    rounded = {}
    for key, tensor in state.items():
        is_half = key.endswith(("proj", "text_projection")) or any(
            part in key for part in ("conv1.", ".attn.", ".mlp.")
        )
        rounded[key] = (tensor.half() if is_half else tensor).float()
    return rounded


def is_clip(keys: Set[str]) -> bool:
    """Return whether the names of a file are those of a CLIP alone, of OpenAI, open_clip or transformers."""
    return "visual.conv1.weight" in keys or _TRANSFORMERS in keys


def normalise_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under OpenAI's names.

    The prefix `module.` of distributed training is removed. Weights of transformers' CLIPModel get the names
    and the layout of OpenAI's; their `position_ids` keep their name.
    """
    state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    if _TRANSFORMERS not in state:
        return state
    named = convert(state, _TRANSFORMERS_RULES, LoadReport("transformers' CLIPModel"))
    for key in [key for key in named if ".attn.q_proj." in key]:
        parts = [key.replace("q_proj", f"{part}_proj") for part in "qkv"]
        # If one is missing, the others keep their names, and strict loading reports them.
        if all(part in named for part in parts):
            named[key.replace("q_proj.", "in_proj_")] = torch.cat([named.pop(part) for part in parts])
    return named


_TRANSFORMERS = "vision_model.embeddings.class_embedding"


def _transposed(weight: Tensor) -> tuple[Tensor]:
    return (weight.T.contiguous(),)


_TRANSFORMERS_RULES = (
    Rule(r"vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    Rule(r"vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    Rule(r"vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    Rule(r"vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    Rule(r"vision_model\.post_layernorm\.", "visual.ln_post."),
    Rule(r"visual_projection\.weight$", ("visual.proj",), split=_transposed),
    Rule(r"text_model\.embeddings\.token_embedding\.", "token_embedding."),
    Rule(r"text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    Rule(r"text_model\.final_layer_norm\.", "ln_final."),
    Rule(r"text_projection\.weight$", ("text_projection",), split=_transposed),
    *(
        Rule(rf"{tower}_model\.encoder\.layers\.(\d+)\.{old}\.", rf"{to}transformer.resblocks.\1.{new}.")
        for tower, to in (("vision", "visual."), ("text", ""))
        for old, new in (
            (r"self_attn\.out_proj", "attn.out_proj"),
            (r"self_attn\.(q|k|v)_proj", r"attn.\2_proj"),
            (r"layer_norm([12])", r"ln_\2"),
            (r"mlp\.fc1", "mlp.c_fc"),
            (r"mlp\.fc2", "mlp.c_proj"),
        )
    ),
)
