"""What the labels of an image become, whatever their form."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rskt_seg.data.class_sets import RGB


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The classes of the pixels of an image.

    Attributes:
        ids: (H, W) uint8, 255 where there is no class.
        unknown: Colour of no class -> pixels, which are ignored.
        snapped: Pixels that took the nearest colour.
        warped: Whether the label was on another grid.
        drawn: Polygons or masks on the image; None if the form has none.
    """

    ids: np.ndarray
    unknown: Mapping[RGB, int] = field(default_factory=dict)
    snapped: int = 0
    warped: bool = False
    drawn: int | None = None
