"""The options of a CAT-Seg model. `MODEL.CATSEG.<FIELD>` is the field of that name in upper case."""

from dataclasses import dataclass

from rskt_seg.models.cost_volumes.spec import LimitedSpec


@dataclass(frozen=True)
class CATSegSpec(LimitedSpec):
    """Options of `rskt_seg.models.catseg.CATSeg`.

    Raises:
        ConfigError: A value is of the wrong type, not among the choices or out of range.
    """
