"""Windows of an official image, and what is cut out there: integer geometry alone."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from rskt_seg.data.class_sets import IGNORE_LABEL
from rskt_seg.windows import Window, tile_stem, window_grid

TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda array: array,
    "hflip": lambda array: array[:, ::-1],
    "vflip": lambda array: array[::-1],
    "rot90": lambda array: np.rot90(array, 1),
    "rot180": lambda array: np.rot90(array, 2),
    "rot270": lambda array: np.rot90(array, 3),
}
"""Flips (left to right, upside down) and rotations (counter-clockwise) of an array (H, W, ...)."""


@dataclass(frozen=True)
class Cut:
    """One piece of a scene, called `stem`, that is cut out of image and label alike.

    The scene is flipped (`flip`, a name in `TURNS`), gets `padding` rows at its top and columns at its left,
    and is cut at `window`, which is padded too where it reaches beyond the scene; what `crop`, if any, shows
    of that is enlarged to the size of the window, and the whole turned (`turn`).
    """

    stem: str
    window: Window
    flip: str = ""
    padding: tuple[int, int] = (0, 0)
    crop: Window | None = None
    turn: str = ""

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """The piece of (H, W, 3) uint8; padding is black, enlarging bilinear."""
        return self._piece(pixels, 0, Image.Resampling.BILINEAR)

    def label(self, ids: np.ndarray, padding: int = IGNORE_LABEL) -> np.ndarray:
        """The piece of (H, W) uint8 ids, in which padded pixels have the id `padding`."""
        return self._piece(ids, padding, Image.Resampling.NEAREST)

    def _piece(self, scene: np.ndarray, fill: int, resampling: Image.Resampling) -> np.ndarray:
        scene, (top, left), window = TURNS[self.flip](scene), self.padding, self.window
        inner = scene[max(window.top - top, 0) : window.bottom - top]
        inner = inner[:, max(window.left - left, 0) : window.right - left]
        size = window.height, window.width
        piece = np.full((*size, *scene.shape[2:]), fill, scene.dtype)
        above, before = max(top - window.top, 0), max(left - window.left, 0)
        piece[above : above + inner.shape[0], before : before + inner.shape[1]] = inner
        if self.crop is not None:
            small = Image.fromarray(np.ascontiguousarray(piece[self.crop.slices]))
            piece = np.asarray(small.resize(size[::-1], resampling))
        return np.ascontiguousarray(TURNS[self.turn](piece))


class Tiling(NamedTuple):
    """Windows of `size` px every `stride` px, 1 <= stride <= size."""

    size: int
    stride: int

    def cuts(self, stem: str, ids: np.ndarray) -> list[Cut]:
        """All windows over the scene whose label is `ids`."""
        return [Cut(tile_stem(stem, window), window) for window in self.windows(*ids.shape)]

    def windows(self, height: int, width: int) -> list[Window]:
        """All windows over height x width (see `window_grid`)."""
        return window_grid(height, width, self.size, self.stride)


@dataclass(frozen=True)
class RandomCrops:
    """`count` crops of `size` x `size` px anywhere in a scene, called `<stem>_0`, `<stem>_1` and so on.

    Each place is drawn from a digest of the name of the crop, so that it is the same on every machine,
    whatever else is prepared and in whatever order. Of a scene that is too small the crops are as long as
    its sides: nothing is padded, which a training would take for ground. One that no side of is longer
    gives `count` equal crops.
    """

    size: int
    count: int

    def stems(self, stem: str) -> list[str]:
        """The names of the crops of a scene."""
        return [f"{stem}_{number}" for number in range(self.count)]

    def cuts(self, stem: str, ids: np.ndarray) -> list[Cut]:
        """The crops of the scene whose label is `ids` (H, W)."""
        return [Cut(name, self._window(name, *ids.shape)) for name in self.stems(stem)]

    def _window(self, name: str, height: int, width: int) -> Window:
        first, second, *_ = struct.unpack("<4Q", hashlib.sha256(name.encode()).digest())
        top = first % (max(height - self.size, 0) + 1)
        left = second % (max(width - self.size, 0) + 1)
        return Window(top, left, min(self.size, height), min(self.size, width))
