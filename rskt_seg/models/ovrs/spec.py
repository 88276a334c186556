"""The options of an OVRS model. `MODEL.OVRS.<FIELD>` is the field of that name in upper case."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rskt_seg.models.cost_volumes.spec import WindowedSpec
from rskt_seg.models.options import Range


@dataclass(frozen=True)
class OVRSSpec(WindowedSpec):
    """Options of `rskt_seg.models.ovrs.OVRS`.

    Raises:
        ConfigError: A value is of the wrong type, not among the choices or out of range.
    """

    ranges: ClassVar[Mapping[str, Range]] = {**WindowedSpec.ranges, "class_limit": (0, None)}

    class_limit: int = 256
    """Number of classes, the nearest to each image in any rotation, that are decoded; the others get a score
    of 0. 0: all."""
    rotations: bool = True
    """Encode the image in four rotations; False uses the upright image alone."""
    scaled_guides: bool = True
    """Scale the guides of the upsampler by the mean of all classes. Without these and the rotations the model
    is CAT-Seg."""
