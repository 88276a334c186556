"""Checkpoints of RSKT-Seg and weights of its encoders.

Maps the layout of the published code (`model_final.pth`) to the names of `rskt_seg.models.rskt.RSKT`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from rskt_seg.checkpoints import clip
from rskt_seg.checkpoints.rules import LoadReport, Rule, convert, load_strict
from rskt_seg.errors import OtherModelError
from rskt_seg.methods.cost_volumes.checkpoint import (
    LONG,
    PREDICTOR,
    CostVolumeLayout,
    common_rules,
    dino_rules,
    guide_rules,
)
from rskt_seg.methods.cost_volumes.encoders import CLIP_ROLE, dino_role
from rskt_seg.methods.layout import OTHER_ENCODER
from rskt_seg.methods.record import EncoderRole
from rskt_seg.models.rskt import RSKT


class RSKTLayout(CostVolumeLayout):
    """Checkpoints of this package and of the published code."""

    training_only = (*CostVolumeLayout.training_only, "dino_finetune")
    names = LONG

    def published_rules(self, model: RSKT, state: Mapping[str, Tensor], source: str) -> Sequence[Rule]:
        """See `CheckpointLayout.published_rules`.

        Raises:
            CheckpointError: The checkpoint was trained with another window size, or has no RemoteCLIP.
        """
        super().published_rules(model, state, source)
        if model.spec.remote_clip and not any("clip_model_remote." in key for key in state):
            raise OtherModelError(
                f"{source} has no RemoteCLIP, this model has: it seems to be a checkpoint of GSNet, or of an "
                "RSKT-Seg without RemoteCLIP",
                "build its model with create_model('gsnet_vitb16') or create_model('rskt_vitb16', "
                "remote_clip=False)",
                ["gsnet_vitb16", "rskt_vitb16"],
                {"remote_clip": False},
            )
        return rules_for(model)


def rules_for(model: RSKT) -> list[Rule]:
    """Return the rules from the published names to those of a model.

    RemoteCLIP blocks that the model does not have are dropped.
    """
    blocks = len(model.remote_clip.transformer.resblocks) if model.spec.remote_clip else 0
    return [
        *common_rules(LONG),
        *(_of_remote_clip(rule) for rule in clip.trunk_rules(blocks)),
        *guide_rules(
            "remote_clip", ("upsample1_remote", "upsample2_remote"), "CLIP_decoder_guidance_projection_remote"
        ),
        *dino_rules(),
    ]


def _of_remote_clip(rule: Rule) -> Rule:
    """Return a rule of `clip.trunk_rules` with the prefixes that RemoteCLIP has in whole checkpoints."""
    to = rule.to
    if isinstance(to, str):
        to = f"remote_clip.{to}"
    elif to is not None:
        to = tuple(f"remote_clip.{name}" for name in to)
    return replace(rule, pattern=PREDICTOR + r"clip_model_remote\." + rule.pattern, to=to)


def _load_remote_clip(model: RSKT, state: Mapping[str, Tensor], source: str) -> LoadReport:
    report = LoadReport(source)
    named = clip.round_through_half(clip.normalise_names(state))
    rules = clip.trunk_rules(len(model.remote_clip.transformer.resblocks))
    load_strict(model.remote_clip, convert(named, rules, report), source, OTHER_ENCODER)
    return report


ENCODERS = {
    "clip": CLIP_ROLE,
    "remote_clip": EncoderRole(
        _load_remote_clip,
        "RemoteCLIP: RemoteCLIP-ViT-B-32.pt from the RemoteCLIP authors (chendelong/RemoteCLIP)",
        used=lambda spec: spec.remote_clip,
        named=True,
    ),
    "dino": dino_role(used=lambda spec: spec.dino),
}
