"""Weights that a run starts from. Encoders are random only on request."""

import logging
import os
import re
from collections.abc import Collection, Mapping

from detectron2.config import CfgNode

from rskt_seg.checkpoints.files import read_weights
from rskt_seg.checkpoints.hub import locate
from rskt_seg.checkpoints.manifest import config_key
from rskt_seg.d2.datasets import register_own
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.other_models import configuration_advice
from rskt_seg.d2.specs import model_spec, untrained_model
from rskt_seg.errors import ConfigError, WeightsNotFoundError
from rskt_seg.methods import load_checkpoint, load_encoder
from rskt_seg.methods.carry import carry_classes
from rskt_seg.methods.load import class_names_of, frozen_parts
from rskt_seg.methods.load import load_weights as load_fitted
from rskt_seg.methods.weights import fetch_command
from rskt_seg.typing import SegmentationModel

logger = logging.getLogger(__name__)

RANDOM = "random"
"""Source of an encoder with random weights."""
_HUB_NAME = re.compile(r"[\w-]+/[\w-]+$")


def _start_from(cfg: CfgNode) -> str:
    """Return `MODEL.START_FROM`; "" for methods that are not trained in stages."""
    return str(cfg.MODEL.START_FROM) if "MODEL.START_FROM" in method_of(cfg).read_keys else ""


def encoder_sources(cfg: CfgNode) -> dict[str, str]:
    """Return `MODEL.ENCODERS.*` of the encoders that the model starts with: role -> source."""
    spec, staged = model_spec(cfg), bool(_start_from(cfg))
    return {
        role: cfg.MODEL.ENCODERS[role.upper()]
        for role, encoder in method_of(cfg).method.encoders.items()
        if encoder.used(spec) and not (staged and encoder.in_start)
    }


def starting_files(cfg: CfgNode) -> dict[str, str]:
    """Return key -> file, of the earlier stage and of the encoders that a new training starts from."""
    if cfg.MODEL.WEIGHTS:
        return {}
    start = _start_from(cfg)
    encoders = {config_key(role): source for role, source in encoder_sources(cfg).items()}
    return {"MODEL.START_FROM": start, **encoders} if start else encoders


def check_weights(cfg: CfgNode, later: Collection[str] = ()) -> None:
    """Check that there is a whole checkpoint, or a source for every encoder.

    Only names and the presence of files are checked, so that it can come before anything large is built.

    Args:
        cfg: The configuration.
        later: Files that will exist when they are needed.

    Raises:
        WeightsNotFoundError: `MODEL.WEIGHTS`, `MODEL.START_FROM` or a source of an encoder is missing.
        ConfigError: A stage asks for random encoders.
    """
    if cfg.MODEL.WEIGHTS:
        _check_file("MODEL.WEIGHTS", cfg.MODEL.WEIGHTS, "check the path")
        for role in _encoders_left_out(cfg, cfg.MODEL.WEIGHTS):
            _check_encoder(cfg, role, cfg.MODEL.ENCODERS[role.upper()], instead="")
        return
    sources = encoder_sources(cfg)
    if start := _start_from(cfg):
        if start not in later:
            advice = "train the stage that it names first, or all of them with --stages"
            _check_file("MODEL.START_FROM", start, advice)
        if RANDOM in sources.values():
            raise ConfigError(
                "with MODEL.START_FROM the encoders of contexts are those of earlier stages: MODEL.ENCODERS "
                f"must name their checkpoints; found {RANDOM}"
            )
    for role, source in sources.items():
        if source not in later:
            _check_encoder(cfg, role, source)


def _check_file(key: str, path: str, advice: str) -> None:
    if not os.path.isfile(path):
        raise WeightsNotFoundError(f"{key} {path!r} does not exist; {advice}")


def _check_encoder(
    cfg: CfgNode, role: str, source: str, instead: str = ", or set MODEL.WEIGHTS to a whole checkpoint"
) -> None:
    key, encoder = config_key(role), method_of(cfg).method.encoders[role]
    if not source:
        raise WeightsNotFoundError(
            f"{key} is empty, and encoders are random only on request. Get {encoder.where}; set "
            f"{key} to it{instead} ({key} {RANDOM} asks for random weights)"
        )
    named = encoder.named and (source == "tiny" or _HUB_NAME.match(source))
    if source != RANDOM and not named and not os.path.isfile(source):
        command = fetch_command(source)
        get = f"Run `{command}`, or get" if command else "Get"
        raise WeightsNotFoundError(
            f"{key}: the file {source} does not exist. {get} {encoder.where}; put it there or set "
            f"{key}{instead}"
        )


def check_trained(cfg: CfgNode) -> None:
    """Check that there are the weights of an evaluation.

    Raises:
        WeightsNotFoundError: `MODEL.WEIGHTS` is empty or names no file; or it is empty, the method is not
            trained, and an encoder has no source, or random weights.
    """
    method = method_of(cfg).method
    if not cfg.MODEL.WEIGHTS and method.is_trained:
        raise WeightsNotFoundError(
            "MODEL.WEIGHTS is empty: give the trained checkpoint, for example "
            "MODEL.WEIGHTS output/model_final.pth"
        )
    check_weights(cfg)
    if cfg.MODEL.WEIGHTS:
        return
    for role, source in encoder_sources(cfg).items():
        if source == RANDOM:
            raise WeightsNotFoundError(
                f"{config_key(role)} {RANDOM}: {method.title} has nothing but its pretrained "
                "weights, and random ones segment at random; name a file"
            )


def companion_files(cfg: CfgNode, path: str) -> dict[str, str]:
    """Return the files that a whole checkpoint needs besides itself.

    Args:
        cfg: The configuration.
        path: The checkpoint.

    Returns:
        Role of each encoder that the checkpoint keeps in a file of its own -> that of `MODEL.ENCODERS`.

    Raises:
        WeightsNotFoundError: `MODEL.ENCODERS` does not name an existing file.
    """
    method = method_of(cfg).method
    roles = method.checkpoint.companions(model_spec(cfg), read_weights(path).state.keys())
    files = {role: cfg.MODEL.ENCODERS[role.upper()] for role in roles}
    for role, file in files.items():
        advice = f"{path} keeps the encoder of {role} in a file of its own, which must be named here"
        _check_file(config_key(role), file, advice)
    return files


def scored_files(cfg: CfgNode, path: str) -> dict[str, str]:
    """Return the files that the scores of an evaluation depend on.

    Args:
        cfg: The configuration.
        path: The checkpoint; "" where a method that is not trained starts from its encoders.

    Returns:
        Name of each, as the configuration has it -> the file; a checkpoint comes first.

    Raises:
        WeightsNotFoundError: A file is missing.
    """
    if path:
        return {path: path, **{file: file for file in companion_files(cfg, path).values()}}
    return {source: locate(source) for source in encoder_sources(cfg).values()}


def load_trained(model: SegmentationModel, cfg: CfgNode, path: str) -> dict[str, str]:
    """Fill a plain model from a whole checkpoint, strictly; the report goes to the log.

    Encoders that the checkpoint keeps in files of their own or leaves out are those of `MODEL.ENCODERS`.

    Args:
        model: The model.
        cfg: The configuration.
        path: The checkpoint.

    Returns:
        What `load_left_out` returns.

    Raises:
        CheckpointError: The checkpoint does not fit the model.
        WeightsNotFoundError: `MODEL.ENCODERS` does not name an existing file.
    """
    loaded = load_left_out(model, cfg, path)
    with configuration_advice(cfg):
        logger.info("Loaded %s", load_checkpoint(model, path, companion_files(cfg, path) or None))
    return loaded


def start_training(model: SegmentationModel, cfg: CfgNode) -> dict[str, str]:
    """Fill the plain model of a new training, which may have other classes than its `MODEL.WEIGHTS`.

    Of a checkpoint of other classes all that fits is taken (`rskt_seg.methods.carry`); the log says what
    became of the classes. All else is as in `load_weights`.

    Args:
        model: The model, with its initial weights.
        cfg: The configuration.

    Returns:
        Role of each encoder that was loaded from a source of its own -> the source.

    Raises:
        CheckpointError: A file does not fit the model.
        WeightsNotFoundError: A file is missing.
    """
    path = cfg.MODEL.WEIGHTS
    if not path:
        return load_weights(model, cfg)
    check_weights(cfg)
    content, contexts = read_weights(path), companion_files(cfg, path) or None
    with configuration_advice(cfg):
        found = carry_classes(model, path, content, contexts)
    if found is None:
        if content.class_names is None and (names := class_names_of(model)):
            logger.warning(
                "%s does not state its classes: they are taken for %s, in this order, as they are as many",
                path,
                ", ".join(names),
            )
        return load_trained(model, cfg, path)
    fitted, converted, classes = found
    loaded = load_left_out(model, cfg, path)
    with configuration_advice(cfg):
        load_fitted(model, path, fitted)
    logger.info("Started from %s\n  %s", converted, classes)
    method_of(cfg).finish_start(model, cfg)
    return loaded


def load_left_out(model: SegmentationModel, cfg: CfgNode, path: str) -> dict[str, str]:
    """Load the frozen encoders that a checkpoint leaves out, from `MODEL.ENCODERS`.

    Args:
        model: The model.
        cfg: The configuration.
        path: The checkpoint.

    Returns:
        Role of each of them -> its source.

    Raises:
        CheckpointError: An encoder does not fit the model.
        WeightsNotFoundError: `MODEL.ENCODERS` does not name an existing file.
    """
    sources = {role: cfg.MODEL.ENCODERS[role.upper()] for role in _encoders_left_out(cfg, path)}
    for role, source in sources.items():
        _check_encoder(cfg, role, source)
        _load_encoder(model, role, source)
    return sources


def _encoders_left_out(cfg: CfgNode, path: str) -> tuple[str, ...]:
    return tuple(read_weights(path).frozen) if method_of(cfg).method.frozen_encoders else ()


def left_out(model: SegmentationModel, cfg: CfgNode, loaded: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the frozen encoders that the checkpoints of a run leave out.

    Encoders without a source of their own and random ones are always written, because nobody could get
    them again.

    Args:
        model: The model.
        cfg: The configuration; with `MODEL.SAVE_FROZEN` nothing is left out.
        loaded: Role of each encoder that this run loaded from a source of its own -> the source.

    Returns:
        Name of each part of the model -> what checkpoints state about it.
    """
    if cfg.MODEL.SAVE_FROZEN:
        return {}
    roles = method_of(cfg).method.frozen_encoders
    return frozen_parts(model, {role: loaded[role] for role in roles if loaded.get(role, RANDOM) != RANDOM})


def load_weights(model: SegmentationModel, cfg: CfgNode) -> dict[str, str]:
    """Fill a plain model from `MODEL.WEIGHTS`, or else from `MODEL.START_FROM` and `MODEL.ENCODERS`.

    Each load is strict and its report goes to the log.

    Args:
        model: The model.
        cfg: The configuration.

    Returns:
        Role of each encoder that was loaded from a source of its own -> the source.

    Raises:
        CheckpointError: A file does not fit the model.
        WeightsNotFoundError: A file is missing.
    """
    check_weights(cfg)
    if cfg.MODEL.WEIGHTS:
        return load_trained(model, cfg, cfg.MODEL.WEIGHTS)
    sources = encoder_sources(cfg)
    record = method_of(cfg)
    if start := _start_from(cfg):
        logger.info("Started from %s", record.method.checkpoint.start_from(model, start, sources))
        return {}
    for role, source in sources.items():
        _load_encoder(model, role, source)
    record.finish_start(model, cfg)
    return sources


def _load_encoder(model: SegmentationModel, role: str, source: str) -> None:
    if source == RANDOM:
        logger.warning("MODEL.ENCODERS.%s random: this encoder has random weights, as asked", role.upper())
    else:
        logger.info("Loaded %s from %s", role, load_encoder(model, role, source))


def build_model(cfg: CfgNode) -> SegmentationModel:
    """Return the plain model of a configuration with its weights, in evaluation mode on `MODEL.DEVICE`.

    With `MODEL.WEIGHTS` it is complete; with encoders only, the rest has random weights.

    Args:
        cfg: The whole configuration; datasets of `DATASETS.OWN` are registered.

    Returns:
        A model of the method that the configuration chooses.

    Raises:
        ConfigError: An option or the classes cannot be used.
        CheckpointError: A file does not fit the model.
        WeightsNotFoundError: A file is missing.
    """
    check_weights(cfg)
    register_own(cfg.DATASETS.OWN, cfg.OUTPUT_DIR)  # the classes of a closed-set model are those of its data
    model = untrained_model(cfg)
    load_weights(model, cfg)
    return model.to(cfg.MODEL.DEVICE).eval()
