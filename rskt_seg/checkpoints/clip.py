"""OpenAI, open_clip and RemoteCLIP weights -> this package's CLIP names."""

from collections.abc import Mapping

from torch import Tensor

from rskt_seg.checkpoints.rules import Rule

_NO_TEXT = "the text tower of RemoteCLIP is never used"
_UNUSED = "RemoteCLIP stops after its last tapped block"
_SPLIT = tuple(rf"\1{part}_proj_weight" for part in "qkv")

RULES = (
    Rule(r"(input_resolution|context_length|vocab_size|attn_mask)$", None, "a size or mask, not a weight"),
    Rule(r"(.*\.attn\.)in_proj_weight$", _SPLIT, split=lambda tensor: tensor.chunk(3)),
)
"""Packed q/k/v matrices are cut into three; the sizes inside OpenAI's archives are dropped."""


def trunk_rules(blocks: int) -> tuple[Rule, ...]:
    """Rules for a vision trunk of so many blocks, which is all that RSKT-Seg uses of RemoteCLIP."""
    unused = "|".join(rf"resblocks\.{i}\." for i in range(blocks, 64))
    return (
        RULES[0],
        Rule(rf"visual\.(transformer\.({unused})|ln_post\.|proj$)", None, _UNUSED),
        Rule(r"visual\.(.*\.attn\.)in_proj_weight$", _SPLIT, split=lambda tensor: tensor.chunk(3)),
        Rule(r"visual\.", ""),
        Rule(r".*", None, _NO_TEXT),
    )


def round_through_half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round what the published loader keeps in half precision, and return everything as float32.

    It converts convolutions, linear and attention layers and both projections to fp16 before loading, so
    fp32 sources (RemoteCLIP) lose those digits; OpenAI's files are fp16 already. Norms and the token,
    position and class embeddings stay as they are.
    """
    return {key: (t.half() if _is_half(key) else t).float() for key, t in state.items()}


def _is_half(key: str) -> bool:
    if key.endswith(("proj", "text_projection")):
        return True
    return any(part in key for part in ("conv1.", ".attn.", ".mlp."))


def normalise_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the `module.` prefix that distributed training leaves on every key."""
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}
