"""The patches of GeoSeg's pipeline for ISPRS scenes, which BiCoR-Seg trains and tests on.

Published behaviour: the scene, and where it is trained on its two flips, is padded at the top and the left
to a multiple of the patch; only windows that fit are kept, but all of them are counted; where a random crop
of a window of Vaihingen shows enough cars, four turned enlargements of it stand in for the window.
"""

import hashlib
import struct
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from rskt_seg.data.preparation.windows import Cut
from rskt_seg.windows import Window

COPIES = ("", "hflip", "vflip")
"""The copies of a training scene: as it is, flipped left to right, flipped upside down."""
_VERSIONS = ("", "vflip", "hflip")
_QUARTERS = ("", "rot90", "rot180", "rot270")


@dataclass(frozen=True)
class Enlargement:
    """Square crops of `low` to `high` px, anywhere in a window, that replace it where more than `share`
    (0..1) of the enlarged crop is of the class `class_id`."""

    class_id: int
    share: float
    low: int
    high: int

    def replacing(self, cut: Cut, ids: np.ndarray) -> list[Cut]:
        """The four pieces in place of `cut`: the crop, upside down, left to right, and turned by a random
        multiple of 90 degrees, called `<stem>_0` to `<stem>_3`; none where it shows too little of the class.

        The crop and the turn are drawn from a digest of the name of the cut, so that they are the same on
        every machine, whatever else is prepared and in whatever order.
        """
        draws = struct.unpack("<4Q", hashlib.sha256(cut.stem.encode()).digest())
        side = self.low + draws[0] % (self.high - self.low + 1)
        starts = cut.window.height - side + 1
        top, left = draws[1] % starts, draws[2] % starts
        enlarged = replace(cut, crop=Window(top, left, side, side))
        if (enlarged.label(ids) == self.class_id).mean() <= self.share:
            return []
        turns = [*_VERSIONS, _QUARTERS[draws[3] % 4]]
        return [replace(enlarged, stem=f"{cut.stem}_{i}", turn=turn) for i, turn in enumerate(turns)]


@dataclass(frozen=True)
class Patches:
    """Patches of `size` px every `stride` px of each of the `copies` (names in `TURNS`) of a scene."""

    size: int
    stride: int
    copies: tuple[str, ...] = ("",)
    enlargement: Enlargement | None = None

    def cuts(self, stem: str, ids: np.ndarray) -> list[Cut]:
        """The patches of the scene whose label is `ids` (H, W), called `<stem>_<copy>_<window>`."""
        padding = (-ids.shape[0] % self.size, -ids.shape[1] % self.size)
        height, width = (side + pad for side, pad in zip(ids.shape, padding, strict=True))
        found: list[Cut] = []
        for copy, flip in enumerate(self.copies):
            for number, window in self._windows(height, width):
                cut = Cut(f"{stem}_{copy}_{number}", window, flip, padding)
                instead = self.enlargement.replacing(cut, ids) if self.enlargement else []
                found += instead or [cut]
        return found

    def _windows(self, height: int, width: int) -> list[tuple[int, Window]]:
        """The windows that fit, row by row, each with its number among all that begin inside."""
        starts = product(range(0, height, self.stride), range(0, width, self.stride))
        windows = enumerate(Window(top, left, self.size, self.size) for top, left in starts)
        return [(k, window) for k, window in windows if window.bottom <= height and window.right <= width]
