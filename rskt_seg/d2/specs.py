"""From a configuration to the plain specification of a model, field by field."""

from dataclasses import fields

from detectron2.config import CfgNode

from rskt_seg.errors import ConfigError
from rskt_seg.models.rskt import RSKTSpec


def rskt_spec(cfg: CfgNode) -> RSKTSpec:
    """`MODEL.RSKT.*` as an `RSKTSpec`. Raises `ConfigError` for values the model refuses."""
    try:
        return RSKTSpec(**{field.name: cfg.MODEL.RSKT[field.name.upper()] for field in fields(RSKTSpec)})
    except ConfigError as error:
        raise ConfigError(f"MODEL.RSKT: {error}") from error
