"""From a configuration to the plain model of a method: its specification field by field, and its classes."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from torch import nn

from rskt_seg.d2.datasets import check_registered
from rskt_seg.errors import ConfigError
from rskt_seg.models.bicor import BiCoR, BiCoRSpec
from rskt_seg.models.fctl import FCtL, FCtLSpec
from rskt_seg.models.rskt import RSKT, RSKTSpec
from rskt_seg.models.wsss import FROZEN, PriorWSSS, PriorWSSSSpec

CLASSES = "num_classes"
"""The field of closed-set specifications that no key holds: it follows from the dataset."""


@dataclass(frozen=True)
class Method:
    """A model behind a head: its options are `MODEL.<section>.<FIELD>`; closed sets have fixed classes.

    `weak`: it learns from image-level labels. `frozen`: parts of the model that never train.
    """

    section: str
    spec: type
    model: Callable[..., nn.Module]
    closed_set: bool = False
    weak: bool = False
    frozen: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the specification that the configuration holds."""
        return tuple(field.name for field in fields(self.spec) if field.name != CLASSES)


METHODS = {
    "RSKTSegHead": Method("RSKT", RSKTSpec, RSKT),
    "BiCoRHead": Method("BICOR", BiCoRSpec, BiCoR, closed_set=True),
    "FCtLHead": Method("FCTL", FCtLSpec, FCtL, closed_set=True),
    "PriorWSSSHead": Method("WSSS", PriorWSSSSpec, PriorWSSS, closed_set=True, weak=True, frozen=FROZEN),
}
"""`MODEL.SEM_SEG_HEAD.NAME` -> what it stands for."""


def method_of(cfg: CfgNode) -> Method:
    """The method that a configuration chooses. Raises `ConfigError` for an unknown head."""
    name = cfg.MODEL.SEM_SEG_HEAD.NAME
    if name not in METHODS:
        raise ConfigError(f"MODEL.SEM_SEG_HEAD.NAME must be one of {', '.join(METHODS)}; found {name!r}")
    return METHODS[name]


def model_spec(cfg: CfgNode, num_classes: int = 2) -> object:
    """`MODEL.<section>.*` as the specification of the chosen method.

    `num_classes` is for closed sets. Raises `ConfigError` for values the model refuses.
    """
    method = method_of(cfg)
    section = cfg.MODEL[method.section]
    options = {name: section[name.upper()] for name in method.fields}
    if method.closed_set:
        options[CLASSES] = num_classes
    try:
        return method.spec(**options)
    except ConfigError as error:
        raise ConfigError(f"MODEL.{method.section}: {error}") from error


def class_names(cfg: CfgNode) -> tuple[str, ...]:
    """The classes of `DATASETS.TRAIN`, or where that is empty of `DATASETS.TEST`, in the order of their ids.

    Raises `ConfigError` where there is no dataset or it is not registered.
    """
    names = cfg.DATASETS.TRAIN or cfg.DATASETS.TEST
    if not names:
        raise ConfigError("DATASETS.TRAIN is empty; the classes of the model are those of its training data")
    check_registered(names[0])
    return tuple(MetadataCatalog.get(names[0]).stuff_classes)


def untrained_model(cfg: CfgNode) -> nn.Module:
    """The plain model of a configuration with random weights. Raises `ConfigError`."""
    method = method_of(cfg)
    if not method.closed_set:
        return method.model(model_spec(cfg))
    names = class_names(cfg)
    return method.model(model_spec(cfg, len(names)), class_names=names)
