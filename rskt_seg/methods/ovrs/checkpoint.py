"""Checkpoints of OVRS."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from rskt_seg.checkpoints.rules import Rule
from rskt_seg.errors import OtherModelError
from rskt_seg.methods.cost_volumes.checkpoint import HEAD, SHORT, CostVolumeLayout, cost_maps_of, uses
from rskt_seg.models.ovrs import OVRS


class OVRSLayout(CostVolumeLayout):
    """Checkpoints of this package and of the published code, whose names are those of CAT-Seg too."""

    names = SHORT

    def published_rules(self, model: OVRS, state: Mapping[str, Tensor], source: str) -> Sequence[Rule]:
        """See `CheckpointLayout.published_rules`.

        Raises:
            CheckpointError: The checkpoint was trained with another window size, or is of a variant that the
                model is not.
        """
        own = (model.spec.rotations, model.spec.scaled_guides)
        rotations = {1: False, 4: True}.get(cost_maps_of(state) or 0, own[0])
        scaled = any(".cconv." in key for key in state) if uses(SHORT, state) else own[1]
        if (rotations, scaled) != own:
            kind, preset = f"OVRS with rotations={rotations}, scaled_guides={scaled}", "ovrs_vitb16"
            options = {"rotations": rotations, "scaled_guides": scaled}
            call = f"{preset!r}, rotations={rotations}, scaled_guides={scaled}"
            if not rotations and not scaled:
                kind, preset, options, call = "CAT-Seg", "catseg_vitb16", {}, "'catseg_vitb16'"
            raise OtherModelError(
                f"{source} does not fit this OVRS model (rotations={own[0]}, scaled_guides={own[1]}): it "
                f"seems to be a checkpoint of {kind}",
                f"build its model with create_model({call})",
                [preset],
                options,
            )
        scales = [
            Rule(rf"{HEAD}decoder{j + 1}\.{old}\.", f"decoder.scales.{j}.{new}.")
            for j in range(2)
            for old, new in (("cconv", "by_channel"), ("sconv", "by_place"))
        ]
        return [*scales, *super().published_rules(model, state, source)]
