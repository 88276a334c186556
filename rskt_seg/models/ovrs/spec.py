"""The options of an OVRS model. `MODEL.OVRS.<FIELD>` is the field of that name in upper case."""

from dataclasses import dataclass

from rskt_seg.models.cost_volumes.spec import LimitedSpec


@dataclass(frozen=True)
class OVRSSpec(LimitedSpec):
    """Options of `rskt_seg.models.ovrs.OVRS`.

    Raises:
        ConfigError: A value is of the wrong type, not among the choices or out of range.
    """

    rotations: bool = True
    """Encode the image in four rotations; False uses the upright image alone."""
    scaled_guides: bool = True
    """Scale the guides of the upsampler by the mean of all classes. Without these and the rotations the model
    is CAT-Seg."""
