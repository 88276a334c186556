"""Which weights a run starts from, and the refusal to start from noise that nobody asked for."""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from detectron2.config import CfgNode
from torch import nn

from rskt_seg.checkpoints import fctl, load_checkpoint, load_encoder, wsss
from rskt_seg.checkpoints.files import read_weights
from rskt_seg.checkpoints.manifest import fetch_command
from rskt_seg.d2.datasets import register_own
from rskt_seg.d2.specs import METHODS, class_names, method_of, model_spec, untrained_model
from rskt_seg.encoders.text import build_tokenizer
from rskt_seg.errors import ConfigError, WeightsNotFoundError
from rskt_seg.models.wsss.classes import find_channels
from rskt_seg.models.wsss.spec import CLIP_PRESETS
from rskt_seg.models.wsss.text import check_tokens, describe_classes

logger = logging.getLogger(__name__)

RANDOM = "random"
"""Source name that asks for an encoder of random weights."""
_HUB_NAME = re.compile(r"[\w-]+/[\w-]+$")
_IMAGENET = "VGG16 of torchvision, or the MiT of the model's encoder, trained on ImageNet"
_STAGE = "the checkpoint of the training stage whose patch encoder is to see this context"
_GET = {
    "clip": "CLIP: OpenAI's ViT-B-16.pt (or ViT-L-14-336px.pt for that model), or an open_clip name "
    "such as ViT-B-16/openai, which is fetched",
    "remote_clip": "RemoteCLIP: RemoteCLIP-ViT-B-32.pt from the RemoteCLIP authors (chendelong/RemoteCLIP)",
    "dino": "RS-DINO: RSIB.pth from the GSNet authors (yecy749/GSNet)",
    "dinov2": "DINOv2: dinov2_vitb14_pretrain.pth or dinov2_vits14_pretrain.pth from the DINOv2 authors "
    "(facebookresearch/dinov2)",
    "convnext": "ConvNeXt-B of torchvision, trained on ImageNet",
    "local": _IMAGENET,
    "medium": f"{_STAGE} (with MODEL.START_FROM), or {_IMAGENET}",
    "large": f"{_STAGE} (with MODEL.START_FROM), or {_IMAGENET}",
}
_NAMED = ("clip", "remote_clip")
"""Roles whose source may be a name instead of a file."""


def encoder_sources(cfg: CfgNode) -> dict[str, str]:
    """`MODEL.ENCODERS.*` of the encoders that the model starts with: role -> source."""
    return {role: cfg.MODEL.ENCODERS[role.upper()] for role in _roles(cfg)}


def _roles(cfg: CfgNode) -> list[str]:
    method, spec = method_of(cfg), model_spec(cfg)
    if method is METHODS["RSKTSegHead"]:
        return ["clip"] + ["remote_clip"] * spec.remote_clip + ["dino"] * spec.dino
    if method is METHODS["BiCoRHead"]:
        return ["convnext"]
    if method.frozen:
        return list(method.frozen)
    own = [] if spec.context_encoder == "shared" else list(spec.contexts)
    return own if cfg.MODEL.START_FROM else ["local", *own]


def check_weights(cfg: CfgNode) -> None:
    """Raise `WeightsNotFoundError` unless there is a whole checkpoint, or a source for every encoder.

    Looks at names and files alone, so that it can come before anything large is built.
    """
    if cfg.MODEL.WEIGHTS:
        _check_file("MODEL.WEIGHTS", cfg.MODEL.WEIGHTS, "check the path")
        for role in _left_out_of(cfg, cfg.MODEL.WEIGHTS):
            _check_encoder(role, cfg.MODEL.ENCODERS[role.upper()], instead="")
        return
    sources = encoder_sources(cfg)
    if cfg.MODEL.START_FROM:
        _check_file("MODEL.START_FROM", cfg.MODEL.START_FROM, "train the stage that it names first")
        if RANDOM in sources.values():
            raise ConfigError(
                f"with MODEL.START_FROM the encoders of contexts are those of stages; no {RANDOM}"
            )
    for role, source in sources.items():
        _check_encoder(role, source)


def _check_file(key: str, path: str, advice: str) -> None:
    if not os.path.isfile(path):
        raise WeightsNotFoundError(f"{key} {path!r} does not exist; {advice}")


def _check_encoder(
    role: str, source: str, instead: str = ", or set MODEL.WEIGHTS to a whole checkpoint"
) -> None:
    key = f"MODEL.ENCODERS.{role.upper()}"
    if not source:
        raise WeightsNotFoundError(
            f"{key} is empty, and training does not start from noise unasked. Get {_GET[role]}; set "
            f"{key} to it{instead} ({key} {RANDOM} asks for noise)"
        )
    named = role in _NAMED and (source == "tiny" or _HUB_NAME.match(source))
    if source != RANDOM and not named and not os.path.isfile(source):
        command = fetch_command(source)
        get = f"Run `{command}`, or get" if command else "Get"
        raise WeightsNotFoundError(
            f"{key}: the file {source} does not exist. {get} {_GET[role]}; put it there or set {key}{instead}"
        )


def check_trained(cfg: CfgNode) -> None:
    """Raise `WeightsNotFoundError` unless `MODEL.WEIGHTS` names a whole checkpoint."""
    if not cfg.MODEL.WEIGHTS:
        raise WeightsNotFoundError(
            "MODEL.WEIGHTS is empty: give the trained checkpoint, for example "
            "MODEL.WEIGHTS output/model_final.pth"
        )
    check_weights(cfg)


def context_files(cfg: CfgNode, path: str) -> dict[str, str]:
    """The files that a whole checkpoint needs besides itself: of a published FCtL, context -> file.

    Raises `WeightsNotFoundError` where `MODEL.ENCODERS` names none that exists.
    """
    if method_of(cfg) is not METHODS["FCtLHead"] or not fctl.is_published(set(read_weights(path).state)):
        return {}
    spec = model_spec(cfg)
    files = {
        role: cfg.MODEL.ENCODERS[role.upper()] for role in spec.contexts if spec.context_encoder != "shared"
    }
    for role, file in files.items():
        _check_file(
            f"MODEL.ENCODERS.{role.upper()}",
            file,
            f"{path} is a published FCtL, whose context encoders are files of their own: name that of {role}",
        )
    return files


def load_trained(model: nn.Module, cfg: CfgNode, path: str) -> dict[str, str]:
    """Fill a plain model from a whole checkpoint, strictly; the report goes to the log.

    The files of the context encoders of a published FCtL are those of `MODEL.ENCODERS`, and so are the frozen
    encoders that a checkpoint leaves out, which are returned as by `load_left_out`. Raises `CheckpointError`.
    """
    loaded = load_left_out(model, cfg, path)
    logger.info("Loaded %s", load_checkpoint(model, path, context_files(cfg, path) or None))
    return loaded


def load_left_out(model: nn.Module, cfg: CfgNode, path: str) -> dict[str, str]:
    """Load the frozen encoders that the checkpoint `path` leaves out, from `MODEL.ENCODERS`; role -> source.

    Raises `WeightsNotFoundError` and `CheckpointError`.
    """
    sources = {role: cfg.MODEL.ENCODERS[role.upper()] for role in _left_out_of(cfg, path)}
    for role, source in sources.items():
        _check_encoder(role, source)
        _load_encoder(model, role, source)
    return sources


def _left_out_of(cfg: CfgNode, path: str) -> tuple[str, ...]:
    return tuple(read_weights(path).frozen) if method_of(cfg).frozen else ()


def left_out(model: nn.Module, cfg: CfgNode, loaded: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The frozen encoders that checkpoints of a run leave out, and what they state about them.

    `loaded`: the encoders that this run took from a source of their own, role -> source. All others, and
    those of random weights, are always written: nobody could get them again.
    """
    if cfg.MODEL.SAVE_FROZEN:
        return {}
    frozen = {part: loaded[part] for part in method_of(cfg).frozen if loaded.get(part, RANDOM) != RANDOM}
    return wsss.frozen_parts(model, frozen)


def check_descriptions(cfg: CfgNode) -> None:
    """Raise `ConfigError` unless the classes of a weakly supervised run have the descriptions that it needs.

    To be called before anything long begins, and once its datasets are registered.
    """
    if not method_of(cfg).weak or cfg.MODEL.WEIGHTS:
        return
    names = class_names(cfg)
    spec = model_spec(cfg, len(names))
    described = describe_classes(spec, find_channels(names, spec.background).foreground)
    if spec.tpe and len(set(described.descriptions)) < spec.clusters:
        raise ConfigError(
            f"MODEL.WSSS.CLUSTERS {spec.clusters} needs as many different descriptions; found "
            f"{len(set(described.descriptions))}"
        )
    check_tokens(described, build_tokenizer(CLIP_PRESETS[spec.encoder].text))


def load_weights(model: nn.Module, cfg: CfgNode) -> dict[str, str]:
    """Fill a plain model from `MODEL.WEIGHTS` if it is set, else from `MODEL.START_FROM` and
    `MODEL.ENCODERS`; returns the encoders that came from the latter one by one, role -> source.

    Each load is strict and its report goes to the log. Raises `CheckpointError`.
    """
    check_weights(cfg)
    if cfg.MODEL.WEIGHTS:
        return load_trained(model, cfg, cfg.MODEL.WEIGHTS)
    sources = encoder_sources(cfg)
    if cfg.MODEL.START_FROM:
        logger.info("Started from %s", fctl.start_from(model, cfg.MODEL.START_FROM, sources))
        return {}
    for role, source in sources.items():
        _load_encoder(model, role, source)
    if method_of(cfg).weak:
        model.encode_classes(Path(cfg.OUTPUT_DIR))
    return sources


def _load_encoder(model: nn.Module, role: str, source: str) -> None:
    if source == RANDOM:
        logger.warning("MODEL.ENCODERS.%s random: this encoder starts from noise, as asked", role.upper())
    else:
        logger.info("Loaded %s from %s", role, load_encoder(model, role, source))


def build_model(cfg: CfgNode) -> nn.Module:
    """The plain model of a configuration with its weights, in evaluation mode on `MODEL.DEVICE`.

    With `MODEL.WEIGHTS` it is whole; with encoders alone the rest is untrained. Raises as
    `load_weights`.
    """
    check_weights(cfg)
    register_own(cfg.DATASETS.OWN)  # the classes of a closed set are those of its data
    model = untrained_model(cfg)
    load_weights(model, cfg)
    return model.to(cfg.MODEL.DEVICE).eval()
