"""Key names of DINO weights (of aerial or natural images) -> those of `rskt_seg.encoders.dino.DINO`."""

from collections.abc import Mapping

from torch import Tensor

from rskt_seg.checkpoints.rules import Rule

RULES = (Rule(r"head\.", None, "the projection head of self-distillation is not part of the encoder"),)


def normalise_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without `module.` and `backbone.` in its keys, as the published loader does."""
    return {key.replace("module.", "").replace("backbone.", ""): tensor for key, tensor in state.items()}
