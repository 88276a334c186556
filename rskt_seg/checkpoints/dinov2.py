"""Key names of DINOv2 weights (Meta's, timm's, teachers of the training code) -> those of this package."""

from collections.abc import Mapping

from torch import Tensor

from rskt_seg.checkpoints.rules import Rule
from rskt_seg.errors import CheckpointError

RULES = (
    Rule(r"mask_token$", None, "the token of masked patches serves pretraining only"),
    Rule(r"(dino_|ibot_)?head\.", None, "heads are not part of the encoder"),
    # The training code nests blocks in chunks, "blocks.CHUNK.BLOCK."; BLOCK counts through all chunks.
    Rule(r"blocks\.\d+\.(\d+)\.", r"blocks.\1."),
)
_INSTEAD = (
    "take Meta's dinov2_vitb14_pretrain.pth or dinov2_vits14_pretrain.pth, or timm's vit_*_patch14_dinov2"
)


def check_layout(state: Mapping[str, Tensor], source: str) -> None:
    """Raise for layouts and variants of DINOv2 that this encoder cannot load.

    Args:
        state: State dict under the names of the file.
        source: Name of the file in messages.

    Raises:
        CheckpointError: The key names are those of transformers, or there are register tokens.
    """
    if any("embeddings.patch_embeddings." in key for key in state):
        raise CheckpointError(
            f"{source} has the key names of Hugging Face's transformers (Dinov2Model), which are not read; "
            f"{_INSTEAD}"
        )
    if any(key.endswith(("register_tokens", "reg_token")) for key in state):
        raise CheckpointError(
            f"{source} is a DINOv2 with register tokens, this encoder has none; {_INSTEAD}, without 'reg4'"
        )
