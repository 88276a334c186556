"""The plain model of a configuration: its specification and its classes."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from rskt_seg.d2.datasets import check_registered
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.encoders.text import read_any_words
from rskt_seg.errors import ConfigError
from rskt_seg.methods.record import NUM_CLASSES
from rskt_seg.typing import SegmentationModel


def model_spec(cfg: CfgNode, num_classes: int = 2) -> Any:
    """Return `MODEL.<section>.*` as the specification of the chosen method.

    Args:
        cfg: The configuration.
        num_classes: Number of classes of a closed-set model.

    Returns:
        An instance of `Method.spec`.

    Raises:
        ConfigError: The model refuses a value.
    """
    record = method_of(cfg)
    section = cfg.MODEL[record.section]
    options = {key.lower(): section[key] for key in record.options}
    if record.method.is_closed:
        options[NUM_CLASSES] = num_classes
    try:
        return record.method.spec(**options)
    except ConfigError as error:
        raise ConfigError(f"MODEL.{record.section}: {error}") from error


def class_names(cfg: CfgNode) -> tuple[str, ...]:
    """Return the classes of `DATASETS.TRAIN`, or if that is empty of `DATASETS.TEST`, in the order of ids.

    Raises:
        ConfigError: There is no dataset, or it is not registered.
    """
    names = cfg.DATASETS.TRAIN or cfg.DATASETS.TEST
    if not names:
        raise ConfigError("DATASETS.TRAIN is empty; the classes of the model are those of its training data")
    check_registered(names[0])
    return tuple(MetadataCatalog.get(names[0]).stuff_classes)


def built_spec(cfg: CfgNode) -> Any:
    """Return the specification of the model of a configuration, with what follows from its classes.

    Raises:
        ConfigError: An option or the classes cannot be used.
    """
    record = method_of(cfg)
    if not record.method.is_closed:
        return model_spec(cfg)
    names = class_names(cfg)
    return record.fit(cfg, model_spec(cfg, len(names)), names)


def untrained_model(cfg: CfgNode) -> SegmentationModel:
    """Return the plain model of a configuration with random weights.

    Raises:
        ConfigError: An option or the classes cannot be used.
    """
    record = method_of(cfg)
    model = record.method.build(built_spec(cfg), class_names(cfg) if record.method.is_closed else None)
    if cfg.MODEL.UNKNOWN_WORDS == "noise" and (encoder := record.text_encoder(model)) is not None:
        read_any_words(*encoder)
    return model
