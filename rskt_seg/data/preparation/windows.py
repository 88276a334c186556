"""Patches of a scene and the tilings that cut it into them: integer geometry and array indexing."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from rskt_seg.data.class_sets import IGNORE_LABEL
from rskt_seg.windows import Window, tile_stem, window_grid

# The names of tilings and of their fields are part of the digests of jobs (`plan.Job.digest`).

TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda array: array,
    "hflip": lambda array: array[:, ::-1],
    "vflip": lambda array: array[::-1],
    "rot90": lambda array: np.rot90(array, 1),
    "rot180": lambda array: np.rot90(array, 2),
    "rot270": lambda array: np.rot90(array, 3),
}
"""Flips (left to right, upside down) and counter-clockwise rotations of an array (H, W, ...)."""


@dataclass(frozen=True)
class Patch:
    """A piece of a scene that is cut out of image and label alike.

    The scene is flipped and padded, then the window is cut out. With `crop`, that part of the window is
    enlarged to the size of the window. The result is turned last.

    Attributes:
        stem: The name of the patch, shared by its image and label files.
        window: Rows and columns of the flipped and padded scene; where it reaches beyond them, the patch is
            padded too.
        flip: The flip of the scene, a key of `TURNS`.
        padding: Rows added at the top and columns added at the left of the flipped scene.
        crop: A window in the coordinates of `window`; None for all of it.
        turn: The flip or rotation of the patch, a key of `TURNS`.
    """

    stem: str
    window: Window
    flip: str = ""
    padding: tuple[int, int] = (0, 0)
    crop: Window | None = None
    turn: str = ""

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """Cut the patch out of an image.

        Args:
            pixels: The whole image, (H, W, 3) uint8.

        Returns:
            The patch, (h, w, 3) uint8: padded with black, enlarged bilinearly.
        """
        return self._extract(pixels, 0, Image.Resampling.BILINEAR)

    def label(self, ids: np.ndarray, padding: int = IGNORE_LABEL) -> np.ndarray:
        """Return the patch of a label (H, W) uint8: padded with the id `padding`, enlarged by nearest.

        Args:
            ids: The label of the scene, (H, W) uint8.
            padding: The id of padded pixels.

        Returns:
            (h, w) uint8.
        """
        return self._extract(ids, padding, Image.Resampling.NEAREST)

    def _extract(self, scene: np.ndarray, fill: int, resampling: Image.Resampling) -> np.ndarray:
        scene, (top, left), window = TURNS[self.flip](scene), self.padding, self.window
        inner = scene[max(window.top - top, 0) : window.bottom - top]
        inner = inner[:, max(window.left - left, 0) : window.right - left]
        patch = np.full((window.height, window.width, *scene.shape[2:]), fill, scene.dtype)
        above, before = max(top - window.top, 0), max(left - window.left, 0)
        patch[above : above + inner.shape[0], before : before + inner.shape[1]] = inner
        if self.crop is not None:
            crop = Image.fromarray(np.ascontiguousarray(patch[self.crop.slices]))
            patch = np.asarray(crop.resize((window.width, window.height), resampling))
        return np.ascontiguousarray(TURNS[self.turn](patch))


class Tiling(NamedTuple):
    """Windows of `size` px every `stride` px, 1 <= stride <= size, that cover a scene."""

    size: int
    stride: int

    def cut(self, stem: str, ids: np.ndarray) -> list[Patch]:
        """Return the patches of the scene whose label is `ids` (H, W), row by row.

        Args:
            stem: The stem of the scene.
            ids: The label of the scene, (H, W) uint8.

        Returns:
            One patch for each window, called as by `tile_stem`.
        """
        return [Patch(tile_stem(stem, window), window) for window in self.windows(*ids.shape)]

    def windows(self, height: int, width: int) -> tuple[Window, ...]:
        """Return the windows over a scene of height x width px (see `window_grid`).

        Args:
            height: Height of the scene, px.
            width: Width of the scene, px.

        Returns:
            The windows, row by row.
        """
        return window_grid(height, width, self.size, self.stride)


@dataclass(frozen=True)
class RandomCrops:
    """`count` random crops of `size` x `size` px of each scene, called `<stem>_0`, `<stem>_1` and so on.

    The place of a crop is derived from a digest of its name, so it is the same on every machine, whatever
    other scenes are prepared and in whatever order. Nothing is padded, because training would take padding
    for ground: a scene smaller than `size` in height or width yields crops of its own height or width, and a
    scene no larger than `size` yields `count` identical crops.

    Attributes:
        size: Side of a crop, px.
        count: Number of crops of a scene.
    """

    size: int
    count: int

    def stems(self, stem: str) -> list[str]:
        """Return the names of the crops of a scene.

        Args:
            stem: The file name of the scene without its suffix.

        Returns:
            `<stem>_0`, `<stem>_1`, ...
        """
        return [f"{stem}_{number}" for number in range(self.count)]

    def cut(self, stem: str, ids: np.ndarray) -> list[Patch]:
        """Return the crops of the scene whose label is `ids` (H, W).

        Args:
            stem: The stem of the scene.
            ids: The label of the scene, (H, W) uint8.

        Returns:
            `count` patches.
        """
        return [Patch(name, self._window(name, *ids.shape)) for name in self.stems(stem)]

    def _window(self, name: str, height: int, width: int) -> Window:
        first, second, *_ = struct.unpack("<4Q", hashlib.sha256(name.encode()).digest())
        top = first % (max(height - self.size, 0) + 1)
        left = second % (max(width - self.size, 0) + 1)
        return Window(top, left, min(self.size, height), min(self.size, width))
