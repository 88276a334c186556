"""What a label of an image is asked for, whatever its form."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from rskt_seg.data.class_sets import RGB
from rskt_seg.windows import Window

_AT_A_TIME = 2**23
"""About how many pixels of a label are looked at at a time."""
_ROWS = 512
"""Strips of a survey begin at multiples of this, as the blocks of most files do."""


@dataclass(frozen=True)
class LabelFacts:
    """What a label as a whole is.

    Attributes:
        unknown: Colour of no class -> pixels, which are ignored.
        snapped: Pixels that took the nearest colour.
        warped: Whether the label was on another grid.
    """

    unknown: Mapping[RGB, int] = field(default_factory=dict)
    snapped: int = 0
    warped: bool = False


class OpenLabel(Protocol):
    """The open label of one image."""

    def survey(self) -> LabelFacts:
        """Look at the whole label, a part at a time.

        Raises:
            LabelError: It is not what the description says.
        """

    def read(self, window: Window) -> np.ndarray:
        """Return the ids (h, w) uint8 of a window of the image, 255 where there is no class.

        Raises:
            LabelError: It cannot be read, or has changed since `survey`.
        """


def strips(size: tuple[int, int]) -> Iterator[Window]:
    """Cut an image into strips of whole rows, for looking at all of it in bounded memory.

    Args:
        size: (H, W), px.

    Yields:
        The strips, from the top.
    """
    height, width = size
    rows = max(1, _AT_A_TIME // (width * _ROWS)) * _ROWS
    for top in range(0, height, rows):
        yield Window(top, 0, min(rows, height - top), width)
