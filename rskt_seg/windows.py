"""Grids of windows over an image: integer geometry alone, no pixels."""

from typing import NamedTuple

from rskt_seg.errors import ConfigError

PUBLISHED_TILE = 384
"""Side (px) of a sliding window in the published evaluation."""
PUBLISHED_SQUARE = 640
"""Side (px) of the square that the published sliding mode resizes every image to."""
_OVERLAP = 0.333


class Window(NamedTuple):
    """A rectangle of pixels: rows `top` to `top + height`, columns `left` to `left + width`."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        return self.rows, self.columns

    @property
    def rows(self) -> slice:
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.right)


def point_in(size: tuple[int, int], at: tuple[int, int] | None) -> tuple[int, int]:
    """The pixel `at` (row, column) of an image of `size` (H, W), None its centre.

    Raises `ConfigError` for a pixel outside of the image.
    """
    height, width = size
    row, column = (height // 2, width // 2) if at is None else at
    if not (0 <= row < height and 0 <= column < width):
        raise ConfigError(
            f"the pixel must lie in the image, rows 0..{height - 1} and columns 0..{width - 1}; found row "
            f"{row}, column {column}"
        )
    return row, column


def window_starts(length: int, size: int, stride: int) -> tuple[int, ...]:
    """First pixels of windows of `size` every `stride` pixels that cover 0..length.

    The last window is shifted inside instead of crossing the border; a length of at most `size` has
    the one start 0. Raises `ConfigError` unless 1 <= stride <= size and length >= 1.
    """
    if not 1 <= stride <= size or length < 1:
        raise ConfigError(
            f"windows need a length of at least 1 and 1 <= stride <= size; "
            f"found length {length}, size {size}, stride {stride}"
        )
    if length <= size:
        return (0,)
    return (*range(0, length - size, stride), length - size)


def window_grid(height: int, width: int, size: int, stride: int) -> tuple[Window, ...]:
    """Windows of size x size that cover an image of height x width, row by row.

    Where the image is smaller than a window, so is the window. Raises as `window_starts`.
    """
    tops, lefts = window_starts(height, size, stride), window_starts(width, size, stride)
    return tuple(Window(top, left, min(size, height), min(size, width)) for top in tops for left in lefts)


def sliding_stride(tile: int) -> int:
    """Step between windows of side `tile` with the published overlap of one third (384 -> 256)."""
    return max(1, int(tile * (1 - _OVERLAP)))


def sliding_sizes(working_side: int) -> tuple[int, int]:
    """Sides (tile, square) of the sliding mode for a model that sees `working_side` pixels.

    The published pair for both full models, of which ViT-L sees its 384 px windows at 336 px; the
    same proportion for any other model (96 -> 96 and 160).
    """
    if working_side in (336, PUBLISHED_TILE):
        return PUBLISHED_TILE, PUBLISHED_SQUARE
    return working_side, round(working_side * PUBLISHED_SQUARE / PUBLISHED_TILE)


def tile_stem(stem: str, window: Window) -> str:
    """`P0002_0_256_206_462` for rows 0..256 and columns 206..462, as the published iSAID patches."""
    return f"{stem}_{window.top}_{window.bottom}_{window.left}_{window.right}"
