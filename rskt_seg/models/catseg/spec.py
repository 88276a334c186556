"""The options of a CAT-Seg model. `MODEL.CATSEG.<FIELD>` is the field of that name in upper case."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rskt_seg.models.cost_volumes.spec import WindowedSpec
from rskt_seg.models.options import Range


@dataclass(frozen=True)
class CATSegSpec(WindowedSpec):
    """Options of `rskt_seg.models.catseg.CATSeg`.

    Raises:
        ConfigError: A value is of the wrong type, not among the choices or out of range.
    """

    ranges: ClassVar[Mapping[str, Range]] = {**WindowedSpec.ranges, "class_limit": (0, None)}

    class_limit: int = 256
    """Number of classes, the nearest to each image, that are decoded; the others get a score of 0. 0: all."""
