"""Checkpoints of GSNet."""

from collections.abc import Mapping, Sequence, Set

from torch import Tensor

from rskt_seg.checkpoints.rules import Rule
from rskt_seg.methods.cost_volumes.checkpoint import LONG, CostVolumeLayout, dino_rules
from rskt_seg.models.gsnet import GSNet

_ELSEWHERE = ("clip_model_remote.", ".spatial_fusion.")


class GSNetLayout(CostVolumeLayout):
    """Checkpoints of this package and of the published code, whose names are those of RSKT-Seg.

    RSKT-Seg has RemoteCLIP or other layers besides; without them it is GSNet, in one rotation.
    """

    training_only = (*CostVolumeLayout.training_only, "dino_finetune")
    names = LONG

    def is_published(self, keys: Set[str]) -> bool:
        """See `CheckpointLayout.is_published`."""
        return super().is_published(keys) and not any(part in key for key in keys for part in _ELSEWHERE)

    def published_rules(self, model: GSNet, state: Mapping[str, Tensor], source: str) -> Sequence[Rule]:
        """See `CheckpointLayout.published_rules`."""
        return [*super().published_rules(model, state, source), *dino_rules()]
