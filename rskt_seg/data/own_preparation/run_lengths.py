"""Masks as the lengths of their runs, of which a window is painted without the rest.

pycocotools makes run lengths of polygons. Its decoder is not used: it paints whole images alone, and takes
lengths for granted, also such as lead out of the image.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rskt_seg.errors import LabelError
from rskt_seg.windows import Window

_ZERO, _BITS = ord("0"), 5
"""COCO's text has a character from "0" for each five bits of a number; the sixth says that more follow."""


@dataclass(frozen=True, eq=False)
class RunLengths:
    """A mask of an image, column by column as COCO counts pixels.

    Attributes:
        starts: (N,) int64, the first pixel of each run.
        ends: (N,) int64, the pixel after each run.
        height: Rows of the image.
    """

    starts: np.ndarray
    ends: np.ndarray
    height: int

    def paint(self, ids: np.ndarray, number: int, window: Window) -> None:
        """Set what the mask covers of a window.

        Args:
            ids: (h, w) uint8, the ids of the window; changed.
            number: The id to set.
            window: The window.
        """
        first, last = window.left * self.height, window.right * self.height
        # Runs do not overlap, so that those in the columns of the window are neighbours.
        run = slice(np.searchsorted(self.ends, first, "right"), np.searchsorted(self.starts, last, "left"))
        starts, ends = self.starts[run], self.ends[run]
        if not len(starts):
            return
        steps = np.zeros(last - first + 1, np.int8)
        steps[np.maximum(starts, first) - first] += 1
        steps[np.minimum(ends, last) - first] -= 1
        columns = np.cumsum(steps[:-1], dtype=np.int8).reshape(window.width, self.height)
        ids[columns.T[window.rows] > 0] = number


def encode(segmentation: Any, size: tuple[int, int], where: str) -> RunLengths:
    """Return the mask of a segmentation of a COCO file.

    Args:
        segmentation: Polygons, or run lengths as a list or as COCO's text.
        size: (H, W) of the image.
        where: File and image, for the message.

    Returns:
        The mask.

    Raises:
        LabelError: It is neither, or of another size.
    """
    from pycocotools import mask

    try:
        if isinstance(segmentation, dict):
            if list(segmentation["size"]) != list(size):
                raise ValueError(f"its size is {segmentation['size']}")
            counts = segmentation["counts"]
            lengths = np.array(counts if isinstance(counts, list) else _read_text(counts), np.int64)
        else:
            if not segmentation or any(len(ring) < 6 or len(ring) % 2 for ring in segmentation):
                raise ValueError("a polygon needs three or more points")
            lengths = np.array(
                _read_text(mask.merge(mask.frPyObjects(segmentation, *size))["counts"]), np.int64
            )
        if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
            raise ValueError(f"its counts sum to {lengths.sum()}")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise LabelError(
            f"{where} is neither polygons nor a run-length encoded mask of its size {size[0]} x {size[1]}: "
            f"{error}"
        ) from error
    ends = np.cumsum(lengths)
    starts = ends - lengths
    covered = lengths[1::2] > 0  # the first run is outside of the mask, the second inside, and so on
    return RunLengths(starts[1::2][covered], ends[1::2][covered], size[0])


def _read_text(text: str | bytes) -> Iterable[int]:
    """Return the lengths that COCO's text states."""
    lengths: list[int] = []
    number = place = 0
    for character in text if isinstance(text, bytes) else text.encode("ascii"):
        bits = character - _ZERO
        number |= (bits & 0x1F) << _BITS * place
        place += 1
        if bits & 0x20:
            continue
        if bits & 0x10:
            number |= -1 << _BITS * place
        if len(lengths) > 2:  # from the fourth on, differences to the length before the last
            number += lengths[-2]
        lengths.append(number)
        number = place = 0
    return lengths
