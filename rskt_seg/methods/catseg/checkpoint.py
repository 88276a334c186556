"""Checkpoints of CAT-Seg."""

from collections.abc import Mapping, Sequence, Set

from torch import Tensor

from rskt_seg.checkpoints.rules import Rule
from rskt_seg.errors import OtherModelError
from rskt_seg.methods.cost_volumes.checkpoint import SHORT, CostVolumeLayout, cost_maps_of
from rskt_seg.models.catseg import CATSeg


class CATSegLayout(CostVolumeLayout):
    """Checkpoints of this package and of the published code, whose names are those of OVRS too."""

    names = SHORT

    def is_published(self, keys: Set[str]) -> bool:
        """See `CheckpointLayout.is_published`; scaled guides (cconv) are those of OVRS."""
        return super().is_published(keys) and not any(".cconv." in key for key in keys)

    def published_rules(self, model: CATSeg, state: Mapping[str, Tensor], source: str) -> Sequence[Rule]:
        """See `CheckpointLayout.published_rules`.

        Raises:
            CheckpointError: The checkpoint was trained with another window size, or with rotations.
        """
        if cost_maps_of(state) == 4:
            raise OtherModelError(
                f"{source} embeds the cost maps of 4 rotations: it seems to be a checkpoint of OVRS without "
                "scaled guides",
                "build its model with create_model('ovrs_vitb16', scaled_guides=False)",
                ["ovrs_vitb16"],
                {"scaled_guides": False},
            )
        return super().published_rules(model, state, source)
