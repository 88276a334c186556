"""DINOv2 weights (Meta's files, timm's, the teachers of its training code) -> this package's DINOv2 names."""

from collections.abc import Mapping

from torch import Tensor

from rskt_seg.checkpoints.rules import Rule
from rskt_seg.errors import CheckpointError

RULES = (
    Rule(r"mask_token$", None, "the token that stands for hidden patches serves pretraining only"),
    Rule(r"(dino_|ibot_)?head\.", None, "heads are not part of the encoder"),
    # Training code groups the blocks; they are numbered through inside the groups.
    Rule(r"blocks\.\d+\.(\d+)\.", r"blocks.\1."),
)
_INSTEAD = (
    "take Meta's dinov2_vitb14_pretrain.pth or dinov2_vits14_pretrain.pth, or timm's vit_*_patch14_dinov2"
)


def check_layout(state: Mapping[str, Tensor], source: str) -> None:
    """Raise `CheckpointError` for the names of transformers, and for the variants with register tokens."""
    if any("embeddings.patch_embeddings." in key for key in state):
        raise CheckpointError(
            f"{source} has the key names of Hugging Face's transformers (Dinov2Model), which are not read; "
            f"{_INSTEAD}"
        )
    if any(key.endswith(("register_tokens", "reg_token")) for key in state):
        raise CheckpointError(
            f"{source} is a DINOv2 with register tokens, this encoder has none; {_INSTEAD}, without 'reg4'"
        )
