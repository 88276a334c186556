"""The pretrained encoders of models of cost volumes."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from rskt_seg.checkpoints import clip, dino
from rskt_seg.checkpoints.rules import LoadReport, convert, load_strict
from rskt_seg.methods.layout import OTHER_ENCODER
from rskt_seg.methods.record import EncoderRole
from rskt_seg.models.cost_volumes import CostVolumeModel


def _load_clip(model: CostVolumeModel, state: Mapping[str, Tensor], source: str) -> LoadReport:
    report = LoadReport(source)
    # The published code rounds the weights in the same way.
    named = clip.round_through_half(clip.normalise_names(state))
    load_strict(model.clip, convert(named, clip.RULES, report), source, OTHER_ENCODER)
    return report


def _load_dino(model: CostVolumeModel, state: Mapping[str, Tensor], source: str) -> LoadReport:
    report = LoadReport(source)
    load_strict(model.dino, convert(dino.normalise_names(state), dino.RULES, report), source, OTHER_ENCODER)
    return report


CLIP_ROLE = EncoderRole(
    _load_clip,
    "CLIP: OpenAI's ViT-B-16.pt (or ViT-L-14-336px.pt for that model), or an open_clip name such as "
    "ViT-B-16/openai, which is fetched",
    named=True,
)


def dino_role(used: Callable[[Any], bool] = lambda spec: True) -> EncoderRole:
    """Return the role of DINO.

    Args:
        used: Returns whether a model of a specification has DINO.

    Returns:
        The role.
    """
    where = "RS-DINO: RSIB.pth from the GSNet authors (yecy749/GSNet)"
    return EncoderRole(_load_dino, where, used=used)
