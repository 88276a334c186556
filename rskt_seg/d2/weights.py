"""Which weights a run starts from, and the refusal to start from noise that nobody asked for."""

import logging
import os
import re

from detectron2.config import CfgNode
from torch import nn

from rskt_seg.checkpoints import load_checkpoint, load_encoder
from rskt_seg.checkpoints.manifest import fetch_command
from rskt_seg.d2.specs import rskt_spec
from rskt_seg.errors import WeightsNotFoundError
from rskt_seg.models.rskt import RSKT

logger = logging.getLogger(__name__)

RANDOM = "random"
"""Source name that asks for an encoder of random weights."""
_HUB_NAME = re.compile(r"[\w-]+/[\w-]+$")
_GET = {
    "clip": "CLIP: OpenAI's ViT-B-16.pt or ViT-L-14-336px.pt, or an open_clip name such as ViT-B-16/openai, "
    "which is fetched",
    "remote_clip": "RemoteCLIP: RemoteCLIP-ViT-B-32.pt from the RemoteCLIP authors (chendelong/RemoteCLIP)",
    "dino": "RS-DINO: RSIB.pth from the GSNet authors (yecy749/GSNet)",
}


def encoder_sources(cfg: CfgNode) -> dict[str, str]:
    """`MODEL.ENCODERS.*` of the encoders that the model has: role -> source."""
    spec = rskt_spec(cfg)
    roles = ["clip"] + ["remote_clip"] * spec.remote_clip + ["dino"] * spec.dino
    return {role: cfg.MODEL.ENCODERS[role.upper()] for role in roles}


def check_weights(cfg: CfgNode) -> None:
    """Raise `WeightsNotFoundError` unless there is a whole checkpoint, or a source for every encoder.

    Looks at names and files alone, so that it can come before anything large is built.
    """
    if cfg.MODEL.WEIGHTS:
        if not os.path.isfile(cfg.MODEL.WEIGHTS):
            raise WeightsNotFoundError(f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS!r} does not exist; check the path")
        return
    for role, source in encoder_sources(cfg).items():
        key = f"MODEL.ENCODERS.{role.upper()}"
        if not source:
            raise WeightsNotFoundError(
                f"{key} is empty, and training does not start from noise unasked. Get {_GET[role]}; set "
                f"{key} to it, or MODEL.WEIGHTS to a whole checkpoint ({key} {RANDOM} asks for noise)"
            )
        named = role != "dino" and (source == "tiny" or _HUB_NAME.match(source))
        if source != RANDOM and not named and not os.path.isfile(source):
            command = fetch_command(source)
            get = f"Run `{command}`, or get" if command else "Get"
            raise WeightsNotFoundError(
                f"{key}: the file {source} does not exist. {get} {_GET[role]}; put it there or set {key}, or "
                "set MODEL.WEIGHTS to a whole checkpoint"
            )


def check_trained(cfg: CfgNode) -> None:
    """Raise `WeightsNotFoundError` unless `MODEL.WEIGHTS` names a whole checkpoint."""
    if not cfg.MODEL.WEIGHTS:
        raise WeightsNotFoundError(
            "MODEL.WEIGHTS is empty: give the trained checkpoint, for example "
            "MODEL.WEIGHTS output/model_final.pth"
        )
    check_weights(cfg)


def load_weights(model: nn.Module, cfg: CfgNode) -> None:
    """Fill a plain model from `MODEL.WEIGHTS` if it is set, else its encoders from `MODEL.ENCODERS`.

    Each load is strict and its report goes to the log. Raises `CheckpointError`.
    """
    check_weights(cfg)
    if cfg.MODEL.WEIGHTS:
        logger.info("Loaded %s", load_checkpoint(model, cfg.MODEL.WEIGHTS))
        return
    for role, source in encoder_sources(cfg).items():
        if source == RANDOM:
            logger.warning("MODEL.ENCODERS.%s random: this encoder starts from noise, as asked", role.upper())
        else:
            logger.info("Loaded %s from %s", role, load_encoder(model, role, source))


def build_model(cfg: CfgNode) -> RSKT:
    """The plain model of a configuration with its weights, in evaluation mode on `MODEL.DEVICE`.

    With `MODEL.WEIGHTS` it is whole; with encoders alone the rest is untrained. Raises as
    `load_weights`.
    """
    check_weights(cfg)
    model = RSKT(rskt_spec(cfg))
    load_weights(model, cfg)
    return model.to(cfg.MODEL.DEVICE).eval()
