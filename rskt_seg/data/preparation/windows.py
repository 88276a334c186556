"""Windows of an official image, and what is cut out there: integer geometry alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from rskt_seg.data.class_sets import IGNORE_LABEL

TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda array: array,
    "hflip": lambda array: array[:, ::-1],
    "vflip": lambda array: array[::-1],
    "rot90": lambda array: np.rot90(array, 1),
    "rot180": lambda array: np.rot90(array, 2),
    "rot270": lambda array: np.rot90(array, 3),
}
"""Flips (left to right, upside down) and rotations (counter-clockwise) of an array (H, W, ...)."""


class Window(NamedTuple):
    """A rectangle of pixels: rows `top` to `bottom`, columns `left` to `right` (ends excluded)."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class Cut:
    """One piece of a scene, called `stem`, that is cut out of image and label alike.

    The scene is flipped (`flip`, a name in `TURNS`), gets `padding` rows at its top and columns at its left,
    and is cut at `window`; what `crop`, if any, shows of that is enlarged to the size of the window, and the
    whole turned (`turn`).
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
        size = window.bottom - window.top, window.right - window.left
        piece = np.full((*size, *scene.shape[2:]), fill, scene.dtype)
        piece[size[0] - inner.shape[0] :, size[1] - inner.shape[1] :] = inner
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
        """All windows over height x width, row by row.

        The last window of a row or column is moved back inside. Along a side shorter than `size`
        there is one window, as long as the side: nothing is padded.
        """
        return [
            Window(top, min(top + self.size, height), left, min(left + self.size, width))
            for top in self._starts(height)
            for left in self._starts(width)
        ]

    def _starts(self, length: int) -> list[int]:
        last = max(length - self.size, 0)
        return [*range(0, last, self.stride), last]


def tile_stem(stem: str, window: Window) -> str:
    """`P0002_0_256_206_462` for rows 0..256 and columns 206..462, as the published iSAID patches."""
    return "_".join([stem, *map(str, window)])


def untiled_stem(stem: str) -> str:
    """What `tile_stem` made a name of; the name itself where it has no window."""
    head, *numbers = stem.rsplit("_", 4)
    return head if len(numbers) == 4 and all(number.isdecimal() for number in numbers) else stem
