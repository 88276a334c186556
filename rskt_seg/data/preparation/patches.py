"""The patches of GeoSeg's pipeline for ISPRS scenes, on which BiCoR-Seg is trained and tested.

Published behaviour: the scene, for training also its two flips, is padded at the top and the left to a
multiple of the patch size. Only windows inside the padded scene are kept, but every window that starts inside
is counted in the names. Where a random crop of a training window of Vaihingen shows enough cars, four turned
enlargements of the crop replace the window.
"""

import hashlib
import struct
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from rskt_seg.data.preparation.windows import Patch
from rskt_seg.windows import Window

# The names of these classes and of their fields are part of the digests of jobs (`plan.Job.digest`).

COPIES = ("", "hflip", "vflip")
"""The copies of a training scene: unchanged, flipped left to right, flipped upside down."""
_ENLARGED_TURNS = ("", "vflip", "hflip")
_ROTATIONS = ("", "rot90", "rot180", "rot270")


@dataclass(frozen=True)
class Enlargement:
    """Random square crops that replace a window, enlarged to its size, where they show enough of a class.

    Attributes:
        class_id: The class that is oversampled.
        share: The class must cover more than this share (0..1) of the enlarged crop.
        low: The smallest side of a crop, px.
        high: The largest side of a crop, px; at most the side of the window.
    """

    class_id: int
    share: float
    low: int
    high: int

    def enlarge(self, patch: Patch, ids: np.ndarray) -> list[Patch]:
        """Return the four patches that replace `patch`, if any.

        The crop and its rotation are derived from a digest of the name of the patch, so they are the same on
        every machine, whatever other scenes are prepared and in whatever order.

        Args:
            patch: A window of the scene.
            ids: The label of the scene, (H, W) uint8.

        Returns:
            The enlarged crop as it is, upside down, flipped left to right, and rotated by a random multiple
            of 90 degrees, called `<stem>_0` to `<stem>_3`; an empty list if the class covers `share` of it or
            less.
        """
        draws = struct.unpack("<4Q", hashlib.sha256(patch.stem.encode()).digest())
        side = self.low + draws[0] % (self.high - self.low + 1)
        starts = patch.window.height - side + 1
        top, left = draws[1] % starts, draws[2] % starts
        enlarged = replace(patch, crop=Window(top, left, side, side))
        if (enlarged.label(ids) == self.class_id).mean() <= self.share:
            return []
        turns = [*_ENLARGED_TURNS, _ROTATIONS[draws[3] % 4]]
        return [replace(enlarged, stem=f"{patch.stem}_{i}", turn=turn) for i, turn in enumerate(turns)]


@dataclass(frozen=True)
class Patches:
    """Patches of `size` px every `stride` px of each copy of a scene.

    Attributes:
        size: Side of a patch, px.
        stride: Step between patches, px.
        copies: The flips of the scene that are cut, keys of `windows.TURNS`.
        enlargement: The crops that replace a window, if any.
    """

    size: int
    stride: int
    copies: tuple[str, ...] = ("",)
    enlargement: Enlargement | None = None

    def cut(self, stem: str, ids: np.ndarray) -> list[Patch]:
        """Return the patches of the scene whose label is `ids` (H, W), called `<stem>_<copy>_<window>`.

        Args:
            stem: The stem of the scene.
            ids: The label of the scene, (H, W) uint8.

        Returns:
            The patches, or what replaces them, copy by copy and row by row.
        """
        padding = (-ids.shape[0] % self.size, -ids.shape[1] % self.size)
        height, width = (side + pad for side, pad in zip(ids.shape, padding, strict=True))
        starts = product(range(0, height, self.stride), range(0, width, self.stride))
        windows = [Window(top, left, self.size, self.size) for top, left in starts]
        patches: list[Patch] = []
        for copy, flip in enumerate(self.copies):
            for number, window in enumerate(windows):
                if window.bottom > height or window.right > width:
                    continue
                patch = Patch(f"{stem}_{copy}_{number}", window, flip, padding)
                enlarged = self.enlargement.enlarge(patch, ids) if self.enlargement else []
                patches += enlarged or [patch]
        return patches
