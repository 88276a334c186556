"""DINO weights (RS-DINO, or the natural-image DINO) -> this package's DINO names."""

from collections.abc import Mapping

from torch import Tensor

from rskt_seg.checkpoints.rules import Rule

RULES = (Rule(r"head\.", None, "the projection head of self-distillation is not part of the encoder"),)


def normalise_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove `module.` and `backbone.` from every key, as the published loader does."""
    return {key.replace("module.", "").replace("backbone.", ""): tensor for key, tensor in state.items()}
